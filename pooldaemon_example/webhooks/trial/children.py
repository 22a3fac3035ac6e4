"""Child processes of the demo: started so that they can be stopped, and always stopped."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from django.conf import settings

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """A signal asked the demo to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_status = 128 + signum


class StopRequest:
    """Notes the signals instead of raising from them: an exception between a fork and the
    assignment of its pid would leave a child nobody knows of."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def check(self) -> None:
        if self.signum is not None:
            raise StoppedError(self.signum)

    def note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum

    @classmethod
    @contextlib.contextmanager
    def watching(cls) -> Iterator["StopRequest"]:
        request = cls()
        before = {signum: signal.signal(signum, request.note) for signum in STOP_SIGNALS}
        try:
            yield request
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


@contextlib.contextmanager
def managed(
    arguments: list[str], environment: dict[str, str], grace: float, **popen: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run `manage.py ARGUMENTS` for the length of the block. Whatever is left of it at the end
    gets TERM and `grace` seconds, then its whole process group is killed."""
    child = subprocess.Popen(  # noqa: S603  # a list of our own, and no shell
        [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
        env={
            **os.environ,
            # A pipe must show what a terminal would, at once.
            "PYTHONUNBUFFERED": "1",
            **environment,
        },
        text=True,
        # Out of the terminal's reach: Ctrl-C is for the demo, which stops its children in order.
        start_new_session=True,
        **popen,
    )
    try:
        yield child
    finally:
        _stop(child, grace)


def _stop(child: subprocess.Popen[str], grace: float) -> None:
    if child.poll() is None:
        child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace)
    # The group outlives its leader: orphans of a killed supervisor are still in it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe:
            pipe.close()

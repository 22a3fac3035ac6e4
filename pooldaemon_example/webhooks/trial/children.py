"""Child processes of the demo, which are always stopped at the end."""

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
    """A signal has requested the end of the demo."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_status = 128 + signum


class StopRequest:
    """Stores the signals instead of raising exceptions: one between a fork and the assignment of
    its pid would leave an unknown child."""

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
    """Run `manage.py ARGUMENTS` during the block. At the end it gets TERM and `grace` seconds, then
    its whole process group is killed."""
    child = subprocess.Popen(  # noqa: S603  # a list of our own, and no shell
        [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
        env={
            **os.environ,
            # So that output appears in a pipe at once, as on a terminal.
            "PYTHONUNBUFFERED": "1",
            **environment,
        },
        text=True,
        # So that Ctrl-C reaches only the demo, which then stops its children.
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
    # Orphans of a killed supervisor are still in its process group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe:
            pipe.close()

"""The preflight of a reload: in the parent the process that tries the new code, in that process
what it owes the parent.

It has passed when it says so, on a pipe of its own, and ends with status 0. That it has ended is
not enough: so does a ``manage.py`` that is empty, or that belongs to another program.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from typing import IO

from pooldaemon.workers.process.invocation import Invocation

logger = logging.getLogger("pooldaemon.supervisor")

VARIABLE = "POOLDAEMON_TRIAL"
"""Its presence makes a freshly executed process a preflight. Its value: where to report success."""

SIGN = b"passed\n"

PREFIX = "sign:"
"""Of the variable's value, before the descriptor's number. Older versions give a mere ``1``, and go
by the exit status."""


class Preflight:
    """The process, in the parent.

    :param deadline: when it is late (monotonic clock).
    :raises OSError: it can't be started.
    """

    def __init__(self, invocation: Invocation, deadline: float) -> None:
        self._deadline = deadline
        with ExitStack() as on_failure:
            out, err = (on_failure.enter_context(scratch_file()) for _ in range(2))
            reading, writing = os.pipe()
            on_failure.callback(os.close, reading)
            os.set_blocking(reading, False)
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own command line
                    invocation.command_line,
                    cwd=invocation.directory,
                    env={**invocation.variables, VARIABLE: f"{PREFIX}{writing}"},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    pass_fds=[writing],
                )
            finally:
                os.close(writing)
            self._output, self._errors, self._sign = out, err, reading
            on_failure.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self, now: float) -> bool:
        """Whether it has ended, or its time is over."""
        return self._process.poll() is not None or now >= self._deadline

    def end(self) -> str | None:
        """Returns why it has not passed; ``None`` if it has. It is killed if it still runs."""
        status = self._process.poll()
        self._process.kill()
        self._process.wait()
        try:
            passed = self._has_passed()
            # Apart: the one is written when its buffer is full, the other one at once.
            text, errors = _read(self._output), _read(self._errors)
        finally:
            os.close(self._sign)
            self._output.close()
            self._errors.close()
        if status == 0 and passed:
            return None
        if written := "\n".join(filter(None, (text, errors))):
            logger.error("reload: what the preflight wrote\n%s", written)
        if status is None:
            return "the preflight did not end in time"
        if status == 0:
            return "the preflight ended without having tried the new code"
        lines = [f"the preflight exited with status {status}", *text.splitlines()[-1:]]
        return [*lines, *errors.splitlines()[-1:]][-1]

    def _has_passed(self) -> bool:
        with suppress(BlockingIOError):
            return os.read(self._sign, len(SIGN)) == SIGN
        return False


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()


def is_trial() -> bool:
    return VARIABLE in os.environ


class Attempt:
    """In the preflight's process: what it is asked for. Programs that it starts are not."""

    def __init__(self) -> None:
        prefix, given, number = os.environ.pop(VARIABLE).partition(PREFIX)
        self._descriptor: int | None = None
        if given and not prefix:
            with suppress(ValueError, OverflowError, OSError):  # or nobody hears of it
                os.set_inheritable(int(number), False)
                self._descriptor = int(number)

    def has_passed(self) -> None:
        """Report that the new code can take over."""
        if self._descriptor is not None:
            os.write(self._descriptor, SIGN)


def scratch_file() -> IO[bytes]:
    """A file that nobody else sees. In memory where the system can do that: a directory for
    temporary files may be full or read-only."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):
            return os.fdopen(os.memfd_create("pooldaemon"), "w+b")
    return tempfile.TemporaryFile()

"""Runs in the parent: a rolling reload, from the trial of the new code to the last old worker.

New code needs a new process. So the command is executed afresh twice: once beside the supervisor,
to try whether it could take over, and then in the supervisor's own place. It keeps its pid, and so
its children, and what it hands over: the lock, the control socket, the workers' lifeline.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any, NoReturn

from pooldaemon.workers.forking import flush_streams

logger = logging.getLogger("pooldaemon.supervisor")

TRIAL, HANDOVER = "POOLDAEMON_TRIAL", "POOLDAEMON_HANDOVER"
"""Variables that tell a freshly executed process what it is for."""


class ReloadState(Enum):
    NONE = "none"
    TRYING = "trying"
    ROLLING = "rolling"
    DONE = "done"
    FAILED = "failed"


class Reload:
    """The daemon's present reload, or its last one.

    :param number: how many there have been.
    """

    def __init__(self, number: int = 0, state: ReloadState = ReloadState.NONE) -> None:
        self.number = number
        self.state = state
        self.reason: str | None = None
        self._deadline = 0.0

    @property
    def is_under_way(self) -> bool:
        return self.state in (ReloadState.TRYING, ReloadState.ROLLING)

    @property
    def children(self) -> set[int]:
        """The trial's process, if one is under way."""
        return {self._trial.pid} if self.state is ReloadState.TRYING else set()

    def begin(self, now: float, timeout: float, directory: str) -> None:
        """Start the trial, in *directory*; it gets *timeout* seconds."""
        self.number += 1
        self.state = ReloadState.TRYING
        self.reason = None
        self._deadline = now + timeout
        try:
            self._start_trial(directory)
        except OSError as error:
            self.fail(f"the trial can't be started: {error.strerror or error}")
        else:
            logger.info("reload: trying the new code as pid %d", self._trial.pid)

    def _start_trial(self, directory: str) -> None:
        with ExitStack() as on_failure:
            output = on_failure.enter_context(_scratch_file())
            self._trial = subprocess.Popen(  # noqa: S603 - our own command line
                _command_line(),
                cwd=directory,
                env=os.environ | {TRIAL: "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            self._output = output
            on_failure.pop_all()

    def has_passed(self, now: float) -> bool:
        """Whether the trial has ended well. One that has not is reported."""
        if self.state is not ReloadState.TRYING:
            return False
        status = self._trial.poll()
        if status is None:
            if now >= self._deadline:
                self._end_trial("the trial did not end in time")
            return False
        if status:
            self._end_trial(f"the trial exited with status {status}")
        else:
            self._output.close()
            self.state = ReloadState.ROLLING
        return status == 0

    def cancel(self) -> None:
        """The daemon ends."""
        if self.state is ReloadState.TRYING:
            self._end_trial("the daemon ends")

    def finish(self) -> None:
        self.state = ReloadState.DONE
        logger.info("reload: done, all workers are new")

    def fail(self, reason: str) -> None:
        self.state = ReloadState.FAILED
        self.reason = reason
        logger.error("reload: failed, the old workers stay: %s", reason)

    def describe(self) -> dict[str, Any]:
        return {"number": self.number, "state": self.state.value, "reason": self.reason}

    def _end_trial(self, otherwise: str) -> None:
        self._trial.kill()
        self._trial.wait()
        self._output.seek(0)
        text = self._output.read().decode(errors="replace").strip()
        self._output.close()
        if text:
            logger.error("reload: what the trial wrote\n%s", text)
        self.fail(text.splitlines()[-1] if text else otherwise)


@dataclass(frozen=True)
class Handover:
    """What the next supervisor gets.

    :ivar state: as JSON takes it. :ivar descriptors: that it inherits.
    """

    state: Mapping[str, Any]
    descriptors: Sequence[int]

    def execute(self, directory: str) -> NoReturn:
        """Execute the command afresh, in *directory*, in the place of this process.

        :raises OSError: that is not possible; nothing has changed.
        """
        with _scratch_file() as file, ExitStack() as on_failure:
            state = {**self.state, "descriptors": list(self.descriptors)}
            file.write(json.dumps(state).encode())
            file.seek(0)
            inherited = [*self.descriptors, file.fileno()]
            here = os.open(".", os.O_RDONLY)
            on_failure.callback(os.close, here)
            # Until it has handlers of its own, a signal would end it.
            previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            on_failure.callback(signal.pthread_sigmask, signal.SIG_SETMASK, previous)
            for descriptor in inherited:
                on_failure.callback(os.set_inheritable, descriptor, False)
                os.set_inheritable(descriptor, True)
            flush_streams()
            on_failure.callback(os.fchdir, here)
            os.chdir(directory)
            variables = os.environ | {HANDOVER: str(file.fileno())}
            os.execve(sys.executable, _command_line(), variables)  # noqa: S606


def take_over() -> dict[str, Any] | None:
    """In the process that was executed: what was handed over; ``None`` if it was started anew."""
    if (number := os.environ.pop(HANDOVER, None)) is None:
        return None
    with os.fdopen(int(number), "rb") as file:
        state: dict[str, Any] = json.load(file)
    for descriptor in state["descriptors"]:
        os.set_inheritable(descriptor, False)
    return state


def is_trial() -> bool:
    return TRIAL in os.environ


def takes_over() -> bool:
    """Whether this process was executed in a supervisor's place, and has not begun to go on."""
    return HANDOVER in os.environ


def _scratch_file() -> IO[bytes]:
    """A file that nobody else sees. In memory where the system can do that: a directory for
    temporary files may be full or read-only."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):
            return os.fdopen(os.memfd_create("pooldaemon"), "w+b")
    return tempfile.TemporaryFile()


def _command_line() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]

"""Runs in the parent that a reload has executed, until its main loop runs: recovers from failures.

The old code can't come back, and the workers have no other supervisor. A lack of descriptors or
memory may make any call fail: in an import, in a settings file, in this package. So whatever ends
this process before its main loop runs, the command is executed again. If that does not help, the
workers drain, and the process ends with status 3.

It is imported before everything else in this package, and imports little itself.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pooldaemon.workers.process import exit_codes

HANDOVER = "POOLDAEMON_HANDOVER"
"""Variable that tells a freshly executed process where to read what is handed over to it."""

ATTEMPTS = "POOLDAEMON_ATTEMPTS"
"""Variable with the number of attempts that have failed."""

DELAYS = 0.1, 1.0, 5.0
"""Seconds before each further attempt. The preflight has passed, so the reason may be temporary."""

TRIES = 5
"""Tries of a system call that has to succeed now."""

LOOK = 0.05
"""Seconds between looks whether workers have ended."""

GRACE = 60.0
"""Seconds that workers get to end if an older version did not hand over how many."""

logger = logging.getLogger("pooldaemon.supervisor")


class Successor:
    """This process, until its main loop runs.

    :param descriptor: the file with the handed-over state.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._failures = int(os.environ.pop(ATTEMPTS, "0"))
        self._variables = {os.fsencode(k): os.fsencode(v) for k, v in os.environ.items()}
        self._is_settled = False
        # Runs after SystemExit too, by which Django reports an error.
        atexit.register(self.recover)

    def settle(self) -> None:
        """Stop watching: the main loop runs, and survives failures by itself."""
        self._is_settled = True
        atexit.unregister(self.recover)
        with suppress(OSError):
            os.close(self._descriptor)

    def recover(self) -> None:
        """Execute the command once more, or end the daemon in order. Returns only where this is
        not the process that has taken over."""
        if self._is_settled or os.getpid() != self._pid:
            return
        if (state := self._read()) is None:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self._failures < len(DELAYS):
            delay = DELAYS[self._failures]
            self._failures += 1
            _tell(f"the new code could not take over; it is executed again in {delay:g} s")
            time.sleep(delay)
            try:
                self._execute(state)
            except OSError as error:
                _tell(f"it can't be executed: {error}")
        _tell("the new code could not take over; the workers drain, and the daemon ends")
        self._leave(state)

    def _read(self) -> dict[str, Any] | None:
        """The state that was handed over to this process; ``None``: there is none. A program that
        settings start has the same variables, but another pid."""
        for _ in range(TRIES):
            with suppress(OSError, ValueError, RecursionError):
                size = os.fstat(self._descriptor).st_size
                state: Any = json.loads(os.pread(self._descriptor, size, 0))
                is_ours = isinstance(state, dict) and state.get("pid") == self._pid
                return state if is_ours else None
        return None

    def _execute(self, state: Mapping[str, Any]) -> None:
        variables = self._variables_at_start()
        variables[os.fsencode(ATTEMPTS)] = b"%d" % self._failures
        for descriptor in (*state["descriptors"], self._descriptor):
            os.set_inheritable(descriptor, True)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.chdir(variables.get(b"PWD", b"."))
        os.execve(sys.orig_argv[0], sys.orig_argv, variables)  # noqa: S606 - as it was executed

    def _variables_at_start(self) -> dict[bytes, bytes]:
        """The environment of the start: settings may have changed ``os.environ`` before that."""
        with suppress(OSError), open("/proc/self/environ", "rb") as file:  # noqa: PTH123
            pairs = [entry.partition(b"=") for entry in file.read().split(b"\0")]
            found = {name: value for name, equals, value in pairs if name and equals}
            if os.fsencode(HANDOVER) in found:  # else a process title has overwritten them
                return found
        return dict(self._variables)

    def _leave(self, state: Mapping[str, Any]) -> None:
        """Drain the workers, remove the daemon's files, and exit."""
        workers = {worker["pid"] for worker in state["workers"]}
        for worker in state["workers"]:
            with suppress(OSError):  # a worker that ends waits until its last message is read
                os.close(worker["descriptor"])
        deadline = time.monotonic() + state.get("drain_timeout", GRACE)
        _signal(workers, signal.SIGTERM)
        while workers:
            if time.monotonic() >= deadline:
                _signal(workers, signal.SIGKILL)
            for pid in list(workers):
                try:
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        workers.discard(pid)
                except ChildProcessError:
                    workers.discard(pid)
                except OSError:  # just now
                    continue
            time.sleep(LOOK)
        if pidfile := state.get("pidfile"):
            for name in (pidfile, f"{pidfile}.sock", f"{pidfile}.sessions"):
                with suppress(OSError):
                    os.unlink(name)  # noqa: PTH108
        os._exit(exit_codes.BOOT_FAILED)


def _signal(workers: set[int], number: signal.Signals) -> None:
    for pid in workers:
        for _ in range(TRIES):
            try:
                os.kill(pid, number)
                break
            except ProcessLookupError:
                break
            except OSError:
                continue


def _tell(text: str) -> None:
    """Write *text* to standard error: there may be no log yet."""
    with suppress(OSError):
        os.write(2, f"pooldaemon, pid {os.getpid()}: {text}\n".encode())


_successor: Successor | None = None


def begin() -> None:
    """Called as early as possible in a process that a reload may have executed."""
    global _successor  # noqa: PLW0603 - one per process
    with suppress(ValueError, OverflowError, OSError):  # or a reload has not set it
        descriptor = int(os.environ.get(HANDOVER, "").encode("ascii"))
        os.fstat(descriptor)
        _successor = Successor(descriptor)


def settle() -> None:
    """Called when the main loop begins."""
    if _successor is not None:
        _successor.settle()


@contextmanager
def recovering() -> Iterator[None]:
    """Recover from an exception that the block raises before :func:`settle`."""
    try:
        yield
    except BaseException as error:
        if _successor is not None:
            with suppress(Exception):  # whatever handlers there are
                logger.error("reload: the new code can't take over just now: %r", error)
            _successor.recover()
        raise

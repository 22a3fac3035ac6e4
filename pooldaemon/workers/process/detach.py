"""Detach from the terminal, and report to the launching process whether the daemon has started."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import daemon

from pooldaemon.workers.process import exit_codes, logfiles
from pooldaemon.workers.process.privileges import opening
from pooldaemon.workers.process.signals import SignalQueue, hangup_is_ignored

UMASK = 0o022
"""The default. python-daemon's is 0, with which everybody may write to the files it creates."""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that cancel a start: Ctrl-C, TERM of a timeout, a closed terminal."""

WAIT = 3600.0
"""Seconds. A signal or the daemon ends the wait earlier."""


@dataclass(frozen=True)
class Surroundings:
    """The user, group, umask and working directory of the detached process."""

    uid: int
    gid: int
    umask: int
    directory: str


class Shell:
    """In the detached process: the pipe to the launching process, which waits for the outcome.

    The pid is written first, then the exit status, each as a line. It does not matter whether the
    launching process still runs.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waits = True
        """Whether the outcome has not been reported yet."""

    def report_pid(self) -> None:
        self._write(os.getpid())

    def ready(self) -> None:
        """The workers are ready."""
        self._report_status(exit_codes.OK)

    def ended(self, status: int) -> None:
        """The daemon has ended with *status*. Status 0 is reported as a failure, since the daemon
        was never ready."""
        self._report_status(status or exit_codes.FAILED)

    def close(self) -> None:
        """Close the pipe; also in forked children, so that its end means the daemon has ended."""
        if self.waits:
            self.waits = False
            os.close(self.descriptor)

    def _report_status(self, status: int) -> None:
        if self.waits:
            self._write(status)
            self.close()

    def _write(self, number: int) -> None:
        with suppress(OSError):  # the launching process has ended
            os.write(self.descriptor, b"%d\n" % number)


Body = Callable[[Shell], int]
"""Runs the daemon: reports to the shell when it is ready, and returns its exit status."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a start.

    :ivar status: 0: the daemon is ready. Otherwise its exit status, or 128 plus the number of the
        signal that has cancelled the start.
    :ivar interruption: that signal; ``None``: there was none.
    """

    status: int
    interruption: signal.Signals | None = None


def detach(
    body: Body,
    claims: ExitStack,
    logfile: str,
    keep: Iterable[int],
    surroundings: Surroundings,
) -> Outcome:
    """Run *body* in a detached process; return when it is ready or has failed. Main thread only.

    A signal of :data:`INTERRUPTIONS` before that ends the daemon, as it would in the foreground:
    afterwards either a daemon runs whose start has been reported, or none.

    :param claims: resources that move to the detached process, which releases them at its end. The
        stack is empty afterwards.
    :param logfile: the file for its standard output and error.
    :param keep: descriptors that stay open in it.
    :param surroundings: its user, group, umask and working directory.
    :returns: in the launching process only: the detached one exits.
    :raises OSError: the fork has failed; *claims* have been released.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # Blocked in the child until it has handlers, in the parent until it waits: no signal may be
    # lost, nor end a process that has resources to release.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    held = claims.pop_all()
    try:
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _be_daemon(body, held, logfile, [*keep, write_end], Shell(write_end), surroundings)
        os.close(write_end)
        # A signal that is ignored, as under nohup, stays ignored.
        handled = [n for n in INTERRUPTIONS if signal.getsignal(n) is not signal.SIG_IGN]
        signals = SignalQueue(handled)
    except OSError:
        held.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
    try:
        return _follow(read_end, signals)
    finally:
        signals.close()
        os.close(read_end)
        # Our child detaches by forking again: it has ended, or is about to.
        os.waitpid(child, 0)


def _follow(pipe: int, signals: SignalQueue) -> Outcome:
    """Wait until the daemon reports its status or ends; if a signal cancels the start, end it."""
    os.set_blocking(pipe, False)
    received, ended, unsent = b"", False, 0
    interruption: signal.Signals | None = None
    while True:
        pid, status = _numbers(received)
        if status is not None and interruption is None:
            return Outcome(status)
        if ended:
            number = interruption and 128 + interruption
            return Outcome(number or exit_codes.FAILED, interruption)
        if pid is not None and unsent:
            unsent -= 1
            # It holds the other end of the pipe, so it lives, and the pid is its own.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            continue
        signals.wait(WAIT, [pipe])
        for number in signals.take():
            interruption = number
            unsent += 1
        with suppress(BlockingIOError):
            chunk = os.read(pipe, 64)
            received, ended = received + chunk, not chunk


def _numbers(received: bytes) -> tuple[int | None, int | None]:
    """The daemon's pid and its status, each ``None`` until it has been reported."""
    *lines, _ = received.split(b"\n")
    pid, status = [*map(int, lines), None, None][:2]
    return pid, status


def _be_daemon(
    body: Body,
    held: ExitStack,
    logfile: str,
    keep: list[int],
    shell: Shell,
    surroundings: Surroundings,
) -> NoReturn:
    status = exit_codes.FAILED
    try:
        with held:
            _go_into_background(logfile, keep, surroundings)
            shell.report_pid()
            status = body(shell)
    except BaseException:  # noqa: BLE001 - the process ends here; nothing may escape
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        shell.ended(status)
        os._exit(status)


def _go_into_background(logfile: str, keep: list[int], surroundings: Surroundings) -> None:
    with opening(Path(logfile).absolute(), surroundings.uid, surroundings.gid):
        descriptor = logfiles.open_logfile(logfile)
    with os.fdopen(descriptor, "ab", buffering=0) as log:
        context = daemon.DaemonContext(
            # A copy, since it changes the list. It closes all other descriptors, log files and
            # locks included.
            files_preserve=list(keep),
            stdout=log,
            stderr=log,
            umask=surroundings.umask,
            working_directory=surroundings.directory,
            uid=surroundings.uid,
            gid=surroundings.gid,
            # Its own guess would be "no" under an init process.
            detach_process=True,
            # The supervisor handles signals and the pidfile.
            signal_map={},
            pidfile=None,
        )
        if hangup_is_ignored():
            # nohup was meant for the launching process. A daemon has no terminal that hangs up, and
            # SIGHUP means reload.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        logfiles.note_output(logfile)  # before the working directory changes
        if (surroundings.uid, surroundings.gid) != (os.geteuid(), os.getegid()):
            # python-daemon's own option for this would not set the primary group.
            os.initgroups(pwd.getpwuid(surroundings.uid).pw_name, surroundings.gid)
        context.open()

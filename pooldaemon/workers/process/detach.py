"""Going into the background, and telling the shell how it went."""

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
"""The default. python-daemon's own is 0, which makes files that everybody can write."""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Ctrl-C, a timeout's TERM, a closed terminal: whoever sends them does not want the daemon."""

LOOK = 3600.0
"""Seconds of a wait that a signal or the daemon ends."""


@dataclass(frozen=True)
class Surroundings:
    """What the detached process is to run as, and where."""

    uid: int
    gid: int
    umask: int
    directory: str


class Shell:
    """In the detached process: the launching one, which waits, and is told over a pipe.

    First the pid, then the status; each is a line. Nobody may be there any more to read it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waits = True
        """It has not been told of the outcome."""

    def tell_pid(self) -> None:
        self._write(os.getpid())

    def ready(self) -> None:
        """The workers are ready."""
        self._tell_status(exit_codes.OK)

    def ended(self, status: int) -> None:
        """The daemon has ended. If it never was ready that is no success, whatever *status* is."""
        self._tell_status(status or exit_codes.FAILED)

    def close(self) -> None:
        """Also in a forked child: the end of the pipe is to be the end of the daemon."""
        if self.waits:
            self.waits = False
            os.close(self.descriptor)

    def _tell_status(self, status: int) -> None:
        if self.waits:
            self._write(status)
            self.close()

    def _write(self, number: int) -> None:
        with suppress(OSError):  # the shell is gone
            os.write(self.descriptor, b"%d\n" % number)


Body = Callable[[Shell], int]
"""The daemon's: it tells the shell when it is ready, and returns its exit status."""


@dataclass(frozen=True)
class Outcome:
    """How a start went.

    :ivar status: 0: the daemon is ready; otherwise its exit status, or 128 and the signal's number.
    :ivar interruption: the signal that ended the start.
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
    """Run in a detached process; return when it is ready, or has failed. Main thread only.

    A signal of :data:`INTERRUPTIONS` in the meantime ends the daemon, as it would in the
    foreground: there is one that was seen to start, or none.

    :param claims: what it has claimed, and releases at its end. Its alone from now on: in this
        process nothing is left in it.
    :param logfile: where its standard output and error go.
    :param keep: descriptors that stay open in it.
    :param surroundings: what it runs as, and where.
    :returns: only in the launching process: the detached one does not return.
    :raises OSError: the fork fails; what was claimed has been released.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    # In the child until it has handlers, in the parent until it looks: none may be lost, nor end
    # a process that has something to release.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    held = claims.pop_all()
    try:
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _be_daemon(body, held, logfile, [*keep, write_end], Shell(write_end), surroundings)
        os.close(write_end)
        # One that is ignored, as with nohup, stays so.
        heeded = [n for n in INTERRUPTIONS if signal.getsignal(n) is not signal.SIG_IGN]
        signals = SignalQueue(heeded)
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
        # The child that we forked detaches by forking on; it has ended, or is about to.
        os.waitpid(child, 0)


def _follow(pipe: int, signals: SignalQueue) -> Outcome:
    """Wait for the daemon's status, or its end; pass on to it that nobody wants it any more."""
    os.set_blocking(pipe, False)
    told, ended, unsent = b"", False, 0
    interruption: signal.Signals | None = None
    while True:
        pid, status = _numbers(told)
        if status is not None and interruption is None:
            return Outcome(status)
        if ended:
            number = interruption and 128 + interruption
            return Outcome(number or exit_codes.FAILED, interruption)
        if pid is not None and unsent:
            unsent -= 1
            # It holds the other end, so the number is its own.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            continue
        signals.wait(LOOK, [pipe])
        for number in signals.take():
            interruption = number
            unsent += 1
        with suppress(BlockingIOError):
            chunk = os.read(pipe, 64)
            told, ended = told + chunk, not chunk


def _numbers(told: bytes) -> tuple[int | None, int | None]:
    """The daemon's pid and its status, as far as it has told them."""
    *lines, _ = told.split(b"\n")
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
            shell.tell_pid()
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
            # A copy: it changes the list that it is given. Descriptors that it does not
            # find there it closes, log files and locks included.
            files_preserve=list(keep),
            stdout=log,
            stderr=log,
            umask=surroundings.umask,
            working_directory=surroundings.directory,
            uid=surroundings.uid,
            gid=surroundings.gid,
            # Not left to its guess, which is "no" under an init process.
            detach_process=True,
            # Signals and the pidfile are the supervisor's.
            signal_map={},
            pidfile=None,
        )
        if hangup_is_ignored():
            # By nohup, which was for the launcher: a daemon has no terminal that could hang up.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        logfiles.note_output(logfile)  # before the working directory changes
        if (surroundings.uid, surroundings.gid) != (os.geteuid(), os.getegid()):
            # Its own option for this would leave the group itself as it is.
            os.initgroups(pwd.getpwuid(surroundings.uid).pw_name, surroundings.gid)
        context.open()

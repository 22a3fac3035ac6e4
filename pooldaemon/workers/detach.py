"""Going into the background, and telling the shell how it went."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import daemon

from pooldaemon.workers import logfiles

UMASK = 0o022
"""The default. python-daemon's own is 0, which makes files that everybody can write."""


@dataclass(frozen=True)
class Surroundings:
    """What the detached process is to run as, and where."""

    uid: int
    gid: int
    umask: int
    directory: str


def detach(
    run: Callable[[Callable[[], None]], int],
    logfile: str,
    keep: Iterable[int],
    surroundings: Surroundings,
) -> int:
    """Run in a detached process; return when it is ready, or has failed, with its status.

    :param run: the daemon's body; it is given a function to call when it is ready, and returns
        its exit status.
    :param logfile: where its standard output and error go.
    :param keep: descriptors that stay open in it.
    :param surroundings: what it runs as, and where.
    :returns: 0 once it is ready, otherwise its exit status. Only in the launching process: the
        detached one does not return.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    launcher_child = os.fork()
    if launcher_child == 0:
        os.close(read_end)
        _be_daemon(run, logfile, [*keep, write_end], write_end, surroundings)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read(1)
    # The child that we forked detaches by forking on; it has ended, or is about to.
    os.waitpid(launcher_child, 0)
    return answer[0] if answer else 1


def _be_daemon(
    run: Callable[[Callable[[], None]], int],
    logfile: str,
    keep: list[int],
    write_end: int,
    surroundings: Surroundings,
) -> None:
    def tell(status: int) -> None:
        with suppress(OSError):  # told before, or the shell is gone
            os.write(write_end, bytes([status]))
            os.close(write_end)

    status = 1
    try:
        with Path(logfile).open("ab", buffering=0) as log:
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
            logfiles.note_output(logfile)  # before the working directory changes
            if (surroundings.uid, surroundings.gid) != (os.geteuid(), os.getegid()):
                # Its own option for this would leave the group itself as it is.
                os.initgroups(pwd.getpwuid(surroundings.uid).pw_name, surroundings.gid)
            context.open()
        status = run(lambda: tell(0))
    except BaseException:  # noqa: BLE001 - the process ends here; nothing may escape
        sys.excepthook(*sys.exc_info())
    finally:
        tell(status)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

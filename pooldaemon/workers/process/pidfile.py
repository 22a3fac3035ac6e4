"""The pidfile: at most one daemon for each, which holds a lock on it."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from pooldaemon.workers.process.files import open_file
from pooldaemon.workers.process.shapes import PID

LOCK_ATTEMPTS, LOCK_PAUSE = 3, 0.05
"""How often taking the lock is tried, and the seconds between tries."""


class AlreadyRunningError(Exception):
    """Another daemon holds the lock.

    :ivar path: the pidfile.
    :ivar pid: the pid in the file; ``None``: the daemon has not written it yet.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        who = f"pid {pid}" if pid else "whose pid is not known yet"
        super().__init__(f"{path} is locked by a running daemon, {who}")


class PidFile:
    """A file that is locked from :meth:`acquire` to :meth:`release`.

    The lock is an ``flock``. Forked children share it, so it survives detaching, as ``lockf`` would
    not. It ends when the last process that has the descriptor open ends, for whatever reason. So a
    stale file never prevents a start, and a worker has to call :meth:`close_descriptor`.

    :param path: its directory must exist and be writable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.descriptor = -1

    def acquire(self) -> None:
        """Create the file if it is missing, lock it, and write this process's pid.

        Waits for the lock for up to 0.15 seconds.

        :raises AlreadyRunningError: another daemon holds the lock.
        :raises OSError: the file can't be opened for writing, is not a regular file, belongs to
            another user, or is locked by another user's process.
        """
        while True:
            # For its owner only: whoever can open the file can lock it, and so prevent a start.
            self.descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _try_lock(self.descriptor):
                pid, other = _read(self.descriptor), _other_user_with_lock(self.descriptor)
                self.close_descriptor()
                if other is not None:
                    raise PermissionError(errno.EPERM, f"it is locked by {other}")
                raise AlreadyRunningError(self.path, pid)
            if self._is_current():
                break
            # The daemon that held it has removed the file between our open and our lock.
            self.close_descriptor()
        self.write_pid()

    def write_pid(self) -> None:
        """Write this process's pid. Called again after detaching, which changes it."""
        with suppress(PermissionError):  # created by root, with another mode, in an older version
            os.fchmod(self.descriptor, 0o600)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    def close_descriptor(self) -> None:
        """Close the descriptor. In a forked worker: the supervisor keeps the lock."""
        os.close(self.descriptor)
        self.descriptor = -1

    def release(self) -> None:
        """Remove the file if it is still ours, then unlock it: in this order, so that a file that
        another daemon has created is never removed."""
        try:
            if self._is_current():
                self.path.unlink()
        except OSError:  # for example in a directory of root's, when we have dropped privileges
            with suppress(OSError):
                os.ftruncate(self.descriptor, 0)
        self.close_descriptor()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False


def lock_holder(path: Path) -> int | None:
    """The pid of the daemon that holds the lock on *path*.

    0 if the daemon has not written its pid yet, ``None`` if *path* is missing or not locked.

    :raises OSError: the file exists but can't be read, or is not a regular file.
    """
    try:
        # Root may operate any user's daemon. The pid in the file is verified with has_open().
        descriptor = open_file(path, os.O_RDONLY, any_owner=os.geteuid() == 0)
    except FileNotFoundError:
        return None
    import fcntl  # noqa: PLC0415 - not on Windows, where commands are only imported

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor) or 0
    finally:
        os.close(descriptor)
    return None


def has_open(pid: int, path: Path) -> bool:
    """Whether the process *pid* has *path* open, and runs as the owner of that file.

    Without ``/proc`` this can't be known: returns ``True``.

    :raises PermissionError: the process belongs to another user than this one.
    """
    process = Path(f"/proc/{pid}")
    if not Path("/proc/self/fd").exists():
        return True
    found = path.stat()
    with suppress(FileNotFoundError):
        if process.stat().st_uid != found.st_uid:
            return False
        for descriptor in (process / "fd").iterdir():
            with suppress(FileNotFoundError):
                if os.path.samestat(descriptor.stat(), found):
                    return True
    return False


def _try_lock(descriptor: int) -> bool:
    """Lock the file. Tried several times, since :func:`lock_holder` locks it for a moment."""
    import fcntl  # noqa: PLC0415 - as above

    for _ in range(LOCK_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOCK_PAUSE)
    return False


def _other_user_with_lock(descriptor: int) -> str | None:
    """The living process of another user that holds the lock, for a message; ``None``: none.

    For a detached daemon the kernel shows the launching process, which has ended.
    """
    found = os.fstat(descriptor)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == file:
                user = Path(f"/proc/{words[4]}").stat().st_uid
                if user not in (0, os.geteuid()):
                    return f"process {words[4]} of another user (uid {user})"
    return None


def _read(descriptor: int) -> int | None:
    with suppress(ValueError):
        # Not 0 or less: a signal to these would reach a group of processes.
        if PID.accepts(pid := int(os.pread(descriptor, 32, 0))):
            return pid
    return None

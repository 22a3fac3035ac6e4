"""One daemon per pidfile, held by a lock rather than by the number in the file."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from pooldaemon.workers.process.files import open_file

LOCK_ATTEMPTS, LOCK_PAUSE = 3, 0.05
"""Tries to take the lock, and seconds between them."""


class AlreadyRunningError(Exception):
    """Another process holds the lock.

    :ivar pid: the number it wrote; ``None`` if it has not yet.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(f"{path} is locked by a running daemon, pid {pid or 'unknown'}")


class PidFile:
    """Holds *path* locked, from :meth:`acquire` to :meth:`release`.

    The lock is an ``flock``: it survives the double fork of a detaching daemon (``lockf`` does
    not), and ends with the last process that has the descriptor open, however that dies. So a
    stale file never blocks, and a worker has to call :meth:`close_descriptor`.

    :param path: its directory must exist and be writable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.descriptor = -1

    def acquire(self) -> None:
        """
        :raises AlreadyRunningError: another process holds it.
        :raises OSError: the file can't be opened for writing, is no regular file or another
            user's, or is locked by another user's process.
        """
        while True:
            # For its owner alone: who can open a file can lock it, and so keep us from starting.
            self.descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _try_lock(self.descriptor):
                pid, stranger = _read(self.descriptor), _stranger_with_lock(self.descriptor)
                self.close_descriptor()
                if stranger is not None:
                    raise PermissionError(errno.EPERM, f"it is locked by {stranger}")
                raise AlreadyRunningError(self.path, pid)
            if self._is_current():
                break
            # Its last owner removed the file between our open and our lock.
            self.close_descriptor()
        self.write_pid()

    def write_pid(self) -> None:
        """Write this process's number; again after detaching, which changes it."""
        with suppress(PermissionError):  # of an older version; it is root's, and we are not
            os.fchmod(self.descriptor, 0o600)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    def close_descriptor(self) -> None:
        """Let go of the descriptor without unlocking: for a forked worker."""
        os.close(self.descriptor)
        self.descriptor = -1

    def release(self) -> None:
        """Remove the file, if it is still ours, then unlock: so nobody's new file is removed."""
        try:
            if self._is_current():
                self.path.unlink()
        except OSError:  # its directory is root's, say, and we have become somebody else
            with suppress(OSError):
                os.ftruncate(self.descriptor, 0)
        self.close_descriptor()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False


def lock_holder(path: Path) -> int | None:
    """The pid of the daemon that holds *path* locked; 0 if it has not written it yet; ``None`` if
    nobody does.

    :raises OSError: the file is there, but can't be read, or is no regular file.
    """
    try:
        # Root may ask for any user's daemon. What the file says is not believed: see has_open().
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
    """Whether the process is its owner's, and has the file *path* open. Where there is no ``/proc``
    to tell: true.

    :raises PermissionError: it is another user's process than the one who asks.
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
    """Lock it, unless somebody holds it for longer than the look of :func:`lock_holder` takes."""
    import fcntl  # noqa: PLC0415 - as above

    for _ in range(LOCK_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOCK_PAUSE)
    return False


def _stranger_with_lock(descriptor: int) -> str | None:
    """The living process of another user that holds the lock, in words; ``None``: there is none.

    A daemon that has detached has its lock from the process that launched it, which is no more.
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
        return int(os.pread(descriptor, 32, 0))
    return None

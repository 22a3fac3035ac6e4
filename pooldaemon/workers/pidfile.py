"""One daemon per pidfile, held by a lock rather than by the number in the file."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path


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

    def __init__(self, path: str) -> None:
        self.path = Path(path).absolute()
        self.descriptor = -1

    def acquire(self) -> None:
        """
        :raises AlreadyRunningError: another process holds it.
        :raises OSError: the file can't be opened for writing, or is a symbolic link.
        """
        while True:
            # Not through a symlink: it could make us overwrite somebody else's file.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self.descriptor = os.open(self.path, flags, 0o644)
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = self._read()
                self.close_descriptor()
                raise AlreadyRunningError(self.path, pid) from None
            if self._is_current():
                break
            # Its last owner removed the file between our open and our lock.
            self.close_descriptor()
        self.write_pid()

    def write_pid(self) -> None:
        """Write this process's number; again after detaching, which changes it."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)

    def close_descriptor(self) -> None:
        """Let go of the descriptor without unlocking: for a forked worker."""
        os.close(self.descriptor)
        self.descriptor = -1

    def release(self) -> None:
        """Remove the file, if it is still ours, then unlock: so nobody's new file is removed."""
        if self._is_current():
            self.path.unlink()
        self.close_descriptor()

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _read(self) -> int | None:
        with suppress(ValueError):
            return int(os.pread(self.descriptor, 32, 0))
        return None

"""Opens a daemon's files safely in directories to which other users may write.

A symbolic link is not followed, since it could make us overwrite another file, such as root's.
Opening a FIFO does not wait. A file of another user is neither trusted nor written to.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path, flags: int, mode: int = 0o600, *, any_owner: bool = False) -> int:
    """Open a regular file that belongs to this process's user or to root; returns the descriptor.

    :param flags: of ``os.open()``. Not ``O_TRUNC``, which would empty the file before the checks.
    :param mode: for a file that is created; the umask applies.
    :param any_owner: allow a file of another user. Default: ``False``.
    :raises OSError: the file can't be opened; or, said in ``strerror``, *path* is not a regular
        file or belongs to another user.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        # A link; a FIFO without a reader, or a socket; a directory, opened for writing.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            check_file(path.lstat(), any_owner=any_owner)
        raise
    try:
        check_file(os.fstat(descriptor), any_owner=any_owner)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def check_file(found: os.stat_result, *, any_owner: bool = False) -> None:
    """Check the type and the owner of a file.

    :raises OSError: it is not a regular file, or belongs to another user and *any_owner* is false.
    """
    refuse_kind(found)
    if not any_owner and found.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"it belongs to another user (uid {found.st_uid})")


def refuse_kind(found: os.stat_result, but: int = stat.S_IFREG) -> None:
    """Check the type of a file.

    :param but: a type of file that is allowed beside a regular file.
    :raises OSError: *found* has another type, named in ``strerror``.
    """
    kind = stat.S_IFMT(found.st_mode)
    if kind not in (stat.S_IFREG, but):
        raise FileExistsError(errno.EEXIST, f"it is {KINDS.get(kind, 'not a regular file')}")

"""A daemon's files, opened so that nobody can lead it to another one or make it wait.

Others may be able to write to the directory. So a link is not followed (it could make us overwrite
a file, root's for instance), a FIFO is not waited for, and what belongs to another user is neither
believed nor written to.
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
    """Open a regular file of this process's user or of root; returns the descriptor.

    :param flags: without ``O_TRUNC``, which would empty the file before it is looked at.
    :param mode: of a file that is made; the umask applies.
    :param any_owner: it may be another user's, too.
    :raises OSError: it can't be opened. What is there instead of a regular file, or whose file it
        is, is told in ``strerror``.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        # A link; a FIFO that nobody reads, or a socket; a directory that was to be written.
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
    """
    :raises OSError: *found* is no regular file, or another user's where *any_owner* is false.
    """
    refuse_kind(found)
    if not any_owner and found.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"it belongs to another user (uid {found.st_uid})")


def refuse_kind(found: os.stat_result, but: int = stat.S_IFREG) -> None:
    """
    :param but: a kind that will do beside a regular file.
    :raises OSError: *found* is of another kind, which is named.
    """
    kind = stat.S_IFMT(found.st_mode)
    if kind not in (stat.S_IFREG, but):
        raise FileExistsError(errno.EEXIST, f"it is {KINDS.get(kind, 'no regular file')}")

"""Opens files as root for the user that a daemon will run as.

Whoever can write to a directory can put a link there that leads to any file, such as root's. So
root acts as the user while opening files there, and can open no more than that user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = 0

MAX_LINKS = 40
"""Symbolic links in a path: as many as Linux follows."""


@contextmanager
def opening(path: Path, uid: int, gid: int) -> Iterator[None]:
    """For a block that opens or creates the file or socket *path*, which the user owns afterwards.

    If nobody but root can change what *path* refers to, the block runs as root and the file is
    given to the user, who may be unable to create it. Otherwise the block runs as the user. Does
    nothing unless root starts a daemon for another user or group. Main thread only.

    :raises OSError: the file can't be given to the user.
    """
    if os.geteuid() != ROOT or (uid, gid) == (ROOT, os.getegid()):
        yield
    elif is_roots(path):
        if path.exists():
            os.chown(path, ROOT, -1, follow_symlinks=False)  # given away in an earlier start
        yield
        os.chown(path, uid, gid, follow_symlinks=False)
    else:
        with _acting_as(uid, gid):
            yield


@contextmanager
def _acting_as(uid: int, gid: int) -> Iterator[None]:
    """Act as the user in the block."""
    import pwd  # noqa: PLC0415 - there is none on Windows, where this module is imported, too

    groups, group = os.getgroups(), os.getegid()
    os.initgroups(pwd.getpwuid(uid).pw_name, gid)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(ROOT)
        os.setegid(group)
        os.setgroups(groups)


def is_roots(path: Path) -> bool:
    """Whether nobody but root can change what the absolute path *path* refers to.

    It is not a link, and each directory on the way, including those behind links, belongs to root
    and is writable by nobody else.
    """
    return not path.is_symlink() and is_roots_directory(path.parent)


def is_roots_directory(path: Path, links: int = MAX_LINKS) -> bool:
    """Whether *path* and all its parent directories belong to root and are writable by nobody
    else."""
    if path != path.parent and not is_roots_directory(path.parent, links):
        return False
    try:
        found = path.lstat()
    except OSError:
        return False
    if found.st_uid != ROOT:
        return False
    if stat.S_ISLNK(found.st_mode):
        target = Path(os.path.normpath(path.parent / path.readlink()))
        return links > 0 and is_roots_directory(target, links - 1)
    return not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

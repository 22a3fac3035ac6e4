"""Files that root opens for the user as whom a daemon is to run.

Whoever may write to a directory decides where the names in it lead: to any file of root's, by a
link. So root becomes the user before he opens something there, and gets no further than that user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = 0

MOST_LINKS = 40
"""Links in a path, as many as Linux follows."""


@contextmanager
def opening(path: Path, uid: int, gid: int) -> Iterator[None]:
    """In this block the file or socket *path* is opened or made, and in the end is the user's.

    If nobody but root can change what the name stands for, root opens it and gives it away: the
    user may be unable to make it. Otherwise it is opened as the user. Where root does not become
    another user or group, there is nothing to do. Main thread only.

    :raises OSError: the user may not become its owner.
    """
    if os.geteuid() != ROOT or (uid, gid) == (ROOT, os.getegid()):
        yield
    elif is_roots(path):
        if path.exists():
            os.chown(path, ROOT, -1, follow_symlinks=False)  # of an earlier start
        yield
        os.chown(path, uid, gid, follow_symlinks=False)
    else:
        with _acting_as(uid, gid):
            yield


@contextmanager
def _acting_as(uid: int, gid: int) -> Iterator[None]:
    """Become the user, for a while."""
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
    """Whether nobody but root can change what *path*, which is absolute, stands for.

    It is no link, and each directory on the way, those behind links included, is root's and
    writable by nobody else.
    """
    return not path.is_symlink() and is_roots_directory(path.parent)


def is_roots_directory(path: Path, links: int = MOST_LINKS) -> bool:
    """Whether *path* is root's, with all directories on the way, and writable by nobody else."""
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

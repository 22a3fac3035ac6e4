"""The user, group, umask and working directory of a detached daemon."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping

from django.core.management.base import CommandError

from pooldaemon.conf import SURROUNDINGS, nearest
from pooldaemon.management.options import Option, flag
from pooldaemon.workers.process.detach import UMASK, Surroundings
from pooldaemon.workers.process.invocation import Invocation


def read_surroundings(options: Mapping[str, Option], invocation: Invocation) -> Surroundings:
    """Read ``--user``, ``--group``, ``--umask`` and ``--directory``. Defaults: those of this
    process, except the umask: 022.

    :raises CommandError: there is no such user, group or directory, the umask is wrong, or this
        process may not change its user.
    """
    user, group = options["user"], options["group"]
    uid, gid = os.geteuid(), os.getegid()
    if user.value is not None:
        uid, gid = _find_user(user)
    if group.value is not None:
        gid = _find_group(group)
    if (uid, gid) != (os.geteuid(), os.getegid()) and os.geteuid() != 0:
        wrong = user if user.value is not None else group
        raise CommandError(f"{wrong.origin} {wrong.value}: only root can change user or group.")
    return Surroundings(
        uid, gid, _read_umask(options["umask"]), _find(options["directory"], invocation)
    )


def refuse_surroundings(options: Mapping[str, Option]) -> None:
    """Refuse these options in the foreground, where the shell or systemd sets them.

    :raises CommandError: one of them was given on the command line.
    """
    for name in SURROUNDINGS:
        if options[name].origin == flag(name):
            raise CommandError(f"{flag(name)} has no effect in the foreground: use it with start.")


def _find_user(option: Option) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(option.value)
    except KeyError:
        hint = nearest(option.value, (user.pw_name for user in pwd.getpwall()))
        raise CommandError(f"{option.origin} {option.value}: no such user.{hint}") from None
    return entry.pw_uid, entry.pw_gid


def _find_group(option: Option) -> int:
    try:
        return grp.getgrnam(option.value).gr_gid
    except KeyError:
        hint = nearest(option.value, (group.gr_name for group in grp.getgrall()))
        raise CommandError(f"{option.origin} {option.value}: no such group.{hint}") from None


def _read_umask(option: Option) -> int:
    if option.value is None:
        return UMASK
    try:
        umask = int(option.value, 8)
    except ValueError:
        umask = -1
    if not 0 <= umask <= 0o777:
        raise CommandError(f"{option.origin} is {option.value}; it must be octal, from 000 to 777.")
    return umask


def _find(option: Option, invocation: Invocation) -> str:
    if option.value is None:
        return invocation.directory
    path = invocation.absolute(option.value)
    if not path.is_dir():
        raise CommandError(f"{option.origin} {option.value}: no such directory.")
    return str(path)

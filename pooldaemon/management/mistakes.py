"""Finds mistakes in a command before it starts: attributes, targets and variables that Python
accepts and the daemon would ignore."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from pooldaemon import faults
from pooldaemon.conf import DAEMON_RULES, TEXTS, nearest
from pooldaemon.management.options import PREFIX
from pooldaemon.workers.process.invocation import OWN
from pooldaemon.workers.worker.completion import GENERATOR

VARIABLES = frozenset(PREFIX + name.upper() for name in (*DAEMON_RULES, *TEXTS))

ALIKE = 0.8
"""The ratio of :mod:`difflib` from which a name counts as a misspelling of another one. With a
lower one, a command's own names would count as misspellings, such as ``perform_one``."""


def check_command(command: Any, base: type) -> None:
    """Check the attributes, the databases and ``perform()`` of a command.

    :param base: the class that has the valid attributes.
    :raises CommandError: one of them is wrong; the message says how to correct it.
    """
    _check_attributes(command, base)
    _check_databases(command.databases)
    name = f"{type(command).__module__}.Command"
    if getattr(command.perform, "__func__", None) is getattr(base, "perform", None):
        raise CommandError(f"{name} needs a method perform(self, ctx) that does one unit of work")
    check_unit(command.perform, f"{name}.perform", "def perform(self, ctx)")


def check_unit(function: Any, name: str, signature: str) -> None:
    """Check that a callable can do a unit of work when it is called with ``ctx``.

    :param name: its name, for messages.
    :param signature: how it should be defined, for messages.
    :raises CommandError: it can't.
    """
    if inspect.isclass(function):
        raise CommandError(f"{name} is a class: calling it only creates an object.")
    for call in (function, function.__call__):  # of an object that can be called
        if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
            raise CommandError(f"{name} {GENERATOR}.")
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        given = f"{inspect.signature(function)}"
        raise CommandError(
            f"{name}{given} can't be called with one argument, ctx. Define it as: {signature}"
        ) from None
    except ValueError:  # C code without a known signature
        pass


def _check_attributes(command: Any, base: type) -> None:
    known = [name for name in dir(base) if not name.startswith("_")]
    for owner, name in _own_attributes(command, base):
        if (near := _meant(name, known)) is None:
            continue
        kinds = {_is_code(base, near), _is_code(command, name)}
        if len(kinds) == 1:  # a method process() is not the number of processes
            raise CommandError(
                f"{owner}.{name} is not an attribute of daemon commands. Did you mean {near!r}? If "
                f"it is your own, begin its name with an underscore: _{name}."
            )


def _check_databases(databases: Any) -> None:
    if isinstance(databases, str) or not isinstance(databases, Iterable):
        raise CommandError(
            f"Command.databases is {databases!r}; it must be a tuple of aliases, such as "
            f"({databases!r},)."
        )
    for alias in databases:
        if alias not in settings.DATABASES:
            hint = nearest(str(alias), settings.DATABASES)
            raise CommandError(
                f"Command.databases names {alias!r}, which is not in settings.DATABASES.{hint}"
            )


def check_environment(variables: Mapping[str, str]) -> str | None:
    """A warning about environment variables with our prefix that are not options, or ``None``.

    :raises CommandError: one looks like a misspelled option.
    """
    ours = {*OWN, faults.VARIABLE}
    given = [name for name in variables if name.startswith(PREFIX) and name not in ours]
    unknown = sorted(name for name in given if name not in VARIABLES and "_TEST_" not in name)
    options = [name.removeprefix(PREFIX) for name in VARIABLES]
    for name in unknown:
        if near := _meant(name.removeprefix(PREFIX), options):
            raise CommandError(
                f"the environment variable {name} is not an option of daemons. "
                f"Did you mean {PREFIX + near!r}?"
            )
    if not unknown:
        return None
    return f"environment variables that are not options of daemons: {', '.join(unknown)}"


def _own_attributes(command: Any, base: type) -> Iterator[tuple[str, str]]:
    """The public attributes that *base* does not have, each with the name of its class."""
    classes = [one for one in type(command).__mro__ if not issubclass(base, one)]
    for names, owner in ((vars(command), type(command)), *((vars(one), one) for one in classes)):
        for name in names:
            if not name.startswith("_") and not hasattr(base, name):
                yield owner.__qualname__, name


def _meant(name: str, known: Iterable[str]) -> str | None:
    words = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(name.casefold(), words, n=1, cutoff=ALIKE)
    return words[near[0]] if near else None


def _is_code(owner: Any, name: str) -> bool:
    value = inspect.getattr_static(owner, name)
    return inspect.isroutine(value) or isinstance(value, classmethod | staticmethod | property)

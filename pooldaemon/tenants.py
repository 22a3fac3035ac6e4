"""Another database under an alias for a block, as for a database per tenant."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from django.db import connections
from django.db.transaction import TransactionManagementError
from django.utils.connection import ConnectionDoesNotExist

from pooldaemon.backends.chosen import chosen
from pooldaemon.conf import nearest
from pooldaemon.connections import in_database_thread, in_event_loop

SETTINGS = ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS", "TIME_ZONE")
"""The settings that a block can change. Another ``ENGINE`` needs another alias."""


def use_database(alias: str, /, **changes: Any) -> UseDatabase:
    """Use another database under *alias* in the block, in this thread or task only.

    ``with`` in synchronous code, ``async with`` in coroutines::

        with use_database("default", NAME="tenant_7", USER="tenant_7", PASSWORD=password):
            Invoice.objects.create(...)

    The connection comes from the pool for these settings and is returned at the end of the block,
    also after an exception. Then *alias* is what it was before. Blocks can be nested: an inner
    block changes the settings of the outer one. A connection that the thread has borrowed under
    *alias* before the block stays borrowed.

    Other threads are not affected, nor are threads that the block starts. Tasks that are started in
    an ``async with`` use its database until the block ends. The returned object can be entered
    once.

    :param alias: a key of ``settings.DATABASES``.
    :param changes: ``NAME``, ``USER``, ``PASSWORD``, ``HOST``, ``PORT`` and ``TIME_ZONE`` as in
        ``DATABASES``. ``OPTIONS`` changes only the options in it; its ``pool`` is replaced as a
        whole. Settings that are not given are kept.
    :raises django.utils.connection.ConnectionDoesNotExist: there is no such alias.
    :raises TypeError: the setting can't be changed, or ``OPTIONS`` is not a dict.
    :raises django.db.transaction.TransactionManagementError: at the start of the block: *alias* is
        inside an ``atomic()``.
    :raises RuntimeError: ``with`` instead of ``async with`` in a running event loop; or the object
        is entered twice, or left in another thread.
    """
    if alias not in connections:
        raise ConnectionDoesNotExist(
            f"The connection {alias!r} doesn't exist.{nearest(str(alias), connections)}"
        )
    for name in changes:
        if name not in SETTINGS:
            raise TypeError(
                f"use_database() can't change {name!r}.{nearest(name, SETTINGS)}"
                f" Valid: {', '.join(SETTINGS)}."
            )
    if not isinstance(changes.get("OPTIONS", {}), Mapping):
        kind = type(changes["OPTIONS"]).__name__  # not the value, which may contain secrets
        raise TypeError(f"use_database(): OPTIONS must be a dict, not {kind}")
    return UseDatabase(alias, changes)


_connections: Any = connections
"""Without its type: it also holds a :class:`_Switch`."""


class _Thread(threading.local):
    """The ``with`` blocks that this thread is in."""

    def __init__(self) -> None:
        self.blocks: list[UseDatabase] = []


_thread = _Thread()


class UseDatabase:
    """The context manager that :func:`use_database` returns, for ``with`` and ``async with``."""

    def __init__(self, alias: str, changes: dict[str, Any]) -> None:
        self._alias = alias
        self._changes = changes
        self._wrapper: Any = None
        self._before: Any = None
        self.active = False
        """Whether it is an ``async with`` that has begun and not ended."""

    def __repr__(self) -> str:
        return f"<use_database({self._alias!r})>"  # without the settings, which contain secrets

    def _make_wrapper(self) -> Any:
        if self._wrapper is not None:
            raise RuntimeError(
                f"{self!r} can be entered only once; call use_database() for each block."
            )
        present = _connections[self._alias]
        if present.in_atomic_block:
            raise TransactionManagementError(
                f"use_database({self._alias!r}) can't be used inside an atomic() of this database: "
                "end the transaction first. (Django's TestCase runs each test in a transaction; "
                "TransactionTestCase does not.)"
            )
        settings = present.settings_dict
        # A shallow copy: the values, such as a callable, are parts of the pool's key.
        options = {**settings["OPTIONS"], **self._changes.get("OPTIONS", {})}
        # For a _Switch this is the class of the connection behind it.
        return present.__class__({**settings, **self._changes, "OPTIONS": options}, self._alias)

    def __enter__(self) -> None:
        if in_event_loop():
            raise RuntimeError(
                "use_database() in async code needs 'async with': Django's connections belong to "
                "the thread in which it runs synchronous code."
            )
        self._wrapper = self._make_wrapper()
        self._before = _connections[self._alias]
        _connections[self._alias] = self._wrapper
        _thread.blocks.append(self)

    def __exit__(self, *exc_info: object) -> None:
        if self not in _thread.blocks:
            raise RuntimeError(
                f"use_database({self._alias!r}) must end in the thread in which it began."
            )
        _thread.blocks.remove(self)
        # Blocks in generators may end in any order. If a later block has saved this one's
        # connection to restore it, it has to restore the one from before this block instead.
        for block in _thread.blocks:
            if block._before is self._wrapper:
                block._before = self._before
                break
        else:
            _connections[self._alias] = self._before
        self._wrapper.close()

    async def __aenter__(self) -> None:
        self._outer = chosen.get()
        try:
            await in_database_thread(self._begin)
        except asyncio.CancelledError:
            await in_database_thread(self._end)
            raise
        chosen.set({**self._outer, self._alias: self})

    async def __aexit__(self, *exc_info: object) -> None:
        chosen.set(self._outer)
        await in_database_thread(self._end)

    def _begin(self) -> None:
        self._wrapper = self._make_wrapper()
        present = _connections[self._alias]
        if type(present) is not _Switch:
            present = _connections[self._alias] = _Switch(self._alias, present)
        present._blocks.add(self)
        self._before = present
        self.active = True

    def _end(self) -> None:
        self.active = False
        switch = _connections[self._alias]
        if switch is not self._before:
            return  # the thread has ended with its request, and so has its connection
        switch._blocks.discard(self)
        if not switch._blocks:
            _connections[self._alias] = switch._otherwise
        self._wrapper.close()


class _Switch:
    """Replaces an alias's connection in a thread, and passes everything on to the connection that
    the present task has chosen.

    Tasks share the thread in which Django runs their synchronous code, one after the other.
    """

    __slots__ = ("_alias", "_blocks", "_otherwise")

    def __init__(self, alias: str, otherwise: Any) -> None:
        object.__setattr__(self, "_alias", alias)
        object.__setattr__(self, "_otherwise", otherwise)
        object.__setattr__(self, "_blocks", set())

    def _wrapper(self) -> Any:
        block: Any = chosen.get().get(self._alias)
        return block._wrapper if block in self._blocks else self._otherwise

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._wrapper())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapper(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._wrapper(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._wrapper(), name)

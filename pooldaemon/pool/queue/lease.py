"""What a borrower holds instead of the physical connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pooldaemon.pool import fork_safety
from pooldaemon.pool.tokens import clear_frames

RETURNED = "this connection has been returned to the pool"
INHERITED = (
    "this connection belongs to the parent process: this one was forked inside atomic(), whose "
    "transaction goes on in the parent. Fork outside atomic(), or end the block here first"
)

OF_THE_PARENT = (
    "this connection belongs to the parent process, which forked without telling Python; the next "
    "query gets one of this process's own"
)


class Affinity(Protocol):
    """Where connections stay between two statements: see :mod:`~pooldaemon.pool.queue.affinity`."""

    def park(self, lease: Lease, entry: Any) -> None: ...
    def leave(self, lease: Lease, entry: Any) -> None: ...
    def resume(self, lease: Lease) -> bool: ...
    def return_connection(self, lease: Lease) -> bool: ...


class Lender(Protocol):
    """What lent the connection and gets it again: a pool entry, or a proxy of SQLAlchemy's."""

    pid: int
    """The process to which the connection belongs."""

    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def affinity(self) -> Affinity | None:
        """The cache in which the connection may be parked between two statements."""

    def share(self) -> None: ...
    def return_connection(self) -> None: ...
    def discard(self) -> None: ...


class Lease:
    """Stands for the driver's connection during one borrow, and is dead afterwards.

    A reference that is kept after the return must not reach into the next borrower's session, so
    a dead lease behaves like a closed DB-API connection. A lease that is lost takes its lender with
    it, of which it holds the only strong reference, and the pool notices that. There is no
    ``__del__``: the garbage collector might call it at any line of the pool. Every attribute is the
    driver's; the pool's own are functions of this module.
    """

    __slots__ = ("__weakref__", "_connection", "_lender")

    _error_class: type[Exception]
    """The driver's ``InterfaceError``, which a dead lease raises."""

    def __init__(self, connection: Any, lender: Lender) -> None:
        _set_lender(self, lender)
        _set_connection(self, connection)

    def _alive(self) -> Any:
        """The driver's connection; raises if this lease is dead."""
        fork_safety.check()
        if self._connection is None:
            raise self._error_class(0, RETURNED if self._lender else INHERITED)
        return self._connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alive(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._alive(), name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._connection or 'returned'!r}>"


# Bound once, which saves each borrow the look-up by name.
_set_connection: Callable[[Lease, Any], None]
_set_connection = Lease._connection.__set__  # type: ignore[attr-defined]
_set_lender: Callable[[Lease, Any], None]
_set_lender = Lease._lender.__set__  # type: ignore[attr-defined]


def abandon(lease: Lease) -> None:
    """In a forked child: cut it off from the parent's connection."""
    _set_connection(lease, None)
    _set_lender(lease, None)


def physical(lease: Lease) -> Any:
    """The driver's connection."""
    return lease._connection


def notes(lease: Lease) -> dict[str, Any]:
    """A dict that lives as long as the physical connection."""
    info: dict[str, Any] = lease._lender.info
    return info


def borrowed_since(lease: Lease) -> float | None:
    """When it was borrowed (monotonic clock); ``None`` in SQLAlchemy's own pools."""
    since: float | None = getattr(lease._lender, "held_since", None)
    return since


def share(lease: Lease) -> None:
    """Several threads use it from now on, so the end of its borrower does not return it."""
    lease._lender.share()


class _Ended:
    """The lender of a lease whose connection has been returned."""

    pid = -1
    affinity = None

    def share(self) -> None:
        """It is nobody's."""


_ENDED = _Ended()


def return_connection(lease: Lease) -> None:
    """Return the connection to its pool. Does nothing the second time."""
    if lease._connection is not None:
        try:
            _set_connection(lease, None)
            lender = lease._lender
            # One that is kept may not keep the entry alive in its later borrows.
            _set_lender(lease, _ENDED)
            if fork_safety.ours[0] and lender.pid == fork_safety.pid:
                lender.return_connection()
        except BaseException as error:
            lender = _lose(lease, error)
            raise


def discard(lease: Lease) -> None:
    """Close the connection and free its place. Does nothing the second time."""
    if lease._connection is not None:
        try:
            _set_connection(lease, None)
            lender = lease._lender
            _set_lender(lease, _ENDED)
            if fork_safety.ours[0] and lender.pid == fork_safety.pid:
                lender.discard()
        except BaseException as error:
            lender = _lose(lease, error)
            raise


def _lose(lease: Lease, error: BaseException) -> Any:
    """After an exception in a return: drop every reference to the lender."""
    _set_connection(lease, None)
    _set_lender(lease, _ENDED)
    clear_frames(error)

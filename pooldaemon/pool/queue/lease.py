"""What a borrower holds instead of the physical connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pooldaemon.pool import fork_safety
from pooldaemon.pool.tokens import forget_frames

if TYPE_CHECKING:
    from pooldaemon.pool.queue.affinity import Parking

GIVEN_BACK = "this connection has been given back to the pool"
INHERITED = (
    "this connection belongs to the parent process: this one was forked inside atomic(), whose "
    "transaction goes on in the parent. Fork outside atomic(), or end the block here first"
)

OF_THE_PARENT = (
    "this connection belongs to the parent process, which forked without telling Python; the next "
    "query gets one of this process's own"
)


class Lease(Protocol):
    """Whoever lent the connection, and takes it back."""

    pid: int
    """The process whose connection it is."""

    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def parking(self) -> Parking | None:
        """Where the connection may wait while its borrower does not need it."""

    def share(self) -> None: ...
    def give_back(self) -> None: ...
    def discard(self) -> None: ...


class BorrowedConnection:
    """Stands for a physical connection during one borrow, and is dead afterwards.

    A reference kept after the give-back must not be a door into the next borrower's session:
    it behaves like a closed DB-API connection. If it is lost, so is its lease, of which it holds
    the only reference, and that the pool is told of. It has no ``__del__``, which the garbage
    collector might call at any line of the pool. Every attribute is the driver's; the pool's own
    are functions of this module.
    """

    __slots__ = ("__weakref__", "_connection", "_lease")

    _error_class: type[Exception]
    """The driver's ``InterfaceError``, raised by one that is dead."""

    def __init__(self, connection: Any, lease: Lease) -> None:
        _set_lease(self, lease)
        _set_connection(self, connection)

    def _alive(self) -> Any:
        """The driver's connection, if this is not dead."""
        fork_safety.check()
        if self._connection is None:
            raise self._error_class(0, GIVEN_BACK if self._lease else INHERITED)
        return self._connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alive(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._alive(), name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._connection or 'given back'!r}>"


# Bound here, which saves a borrow the look-up by name.
_set_connection: Callable[[BorrowedConnection, Any], None]
_set_connection = BorrowedConnection._connection.__set__  # type: ignore[attr-defined]
_set_lease: Callable[[BorrowedConnection, Any], None]
_set_lease = BorrowedConnection._lease.__set__  # type: ignore[attr-defined]


def abandon(handle: BorrowedConnection) -> None:
    """In a forked child: cut it off from the parent's connection."""
    _set_connection(handle, None)
    _set_lease(handle, None)


def physical(handle: BorrowedConnection) -> Any:
    """The driver's connection."""
    return handle._connection


def notes(handle: BorrowedConnection) -> dict[str, Any]:
    """What is remembered about the physical connection while it lives."""
    info: dict[str, Any] = handle._lease.info
    return info


def borrowed_since(handle: BorrowedConnection) -> float | None:
    """On the monotonic clock; pools of SQLAlchemy's own do not tell."""
    since: float | None = getattr(handle._lease, "held_since", None)
    return since


def share(handle: BorrowedConnection) -> None:
    """Several threads use it from now on: it does not come back when its borrower's thread ends."""
    handle._lease.share()


class _Ended:
    """The lease of a handle whose connection has been given back."""

    pid = -1
    parking = None

    def share(self) -> None:
        """It is nobody's."""


_ENDED = _Ended()


def give_back(handle: BorrowedConnection) -> None:
    """Return the connection to its pool. Does nothing the second time."""
    if handle._connection is not None:
        try:
            _set_connection(handle, None)
            lease = handle._lease
            # One that is kept may not keep the slot alive in its later borrows.
            _set_lease(handle, _ENDED)
            if fork_safety.ours[0] and lease.pid == fork_safety.pid:
                lease.give_back()
        except BaseException as error:
            lease = _lose(handle, error)
            raise


def discard(handle: BorrowedConnection) -> None:
    """Close the connection and free its place. Does nothing the second time."""
    if handle._connection is not None:
        try:
            _set_connection(handle, None)
            lease = handle._lease
            _set_lease(handle, _ENDED)
            if fork_safety.ours[0] and lease.pid == fork_safety.pid:
                lease.discard()
        except BaseException as error:
            lease = _lose(handle, error)
            raise


def _lose(handle: BorrowedConnection, error: BaseException) -> Any:
    """Where a give-back was broken off: leave nothing that refers to the lease."""
    _set_connection(handle, None)
    _set_lease(handle, _ENDED)
    forget_frames(error)

"""What a borrower holds instead of the physical connection."""

from __future__ import annotations

from typing import Any


class BorrowedConnection:
    """Stands for a physical connection during one borrow, and is dead afterwards.

    A reference kept after the give-back must not be a door into the next borrower's session:
    it behaves like a closed DB-API connection.

    :param connection: the driver's connection.
    :param error: the driver's ``InterfaceError``, raised once given back.
    """

    __slots__ = ("_connection", "_error")

    def __init__(self, connection: Any, error: type[Exception]) -> None:
        object.__setattr__(self, "_connection", connection)
        object.__setattr__(self, "_error", error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alive(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._alive(), name, value)

    def __repr__(self) -> str:
        return f"<BorrowedConnection {self._connection or 'given back'!r}>"

    def _alive(self) -> Any:
        if self._connection is None:
            raise self._error(0, "this connection has been given back to the pool")
        return self._connection

    @staticmethod
    def give_back(handle: BorrowedConnection) -> None:
        """End *handle*. Not a method of the instance, whose names are all the driver's."""
        object.__setattr__(handle, "_connection", None)

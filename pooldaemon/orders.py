"""What an operator tells pools to do, in PgBouncer's words, as plain frozen data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

ABOUT = {"pause": "lending", "resume": "lending", "reconnect": None, "resize": "size"}
"""Of each verb: what it changes for good; ``None``: nothing."""


@dataclass(frozen=True)
class PoolOrder:
    """
    :ivar verb: ``"pause"``: lend nothing, close what is idle now and the rest as it comes back;
        ``"resume"``; ``"reconnect"``: the same closing, and lend on; ``"resize"``.
    :ivar pool: the name of a pool or a database's alias; ``None``: all pools.
    :ivar size: for ``"resize"``: the new cap.
    """

    verb: str
    pool: str | None = None
    size: int | None = None

    def is_for(self, name: str, aliases: Collection[str]) -> bool:
        return self.pool is None or self.pool == name or self.pool in aliases


class StandingOrders:
    """Those that hold for pools to come, in the order in which they were given.

    An order takes the place of earlier ones about the same thing and the same pools.
    """

    def __init__(self, orders: Iterable[PoolOrder] = ()) -> None:
        self._orders = list(orders)

    def __iter__(self) -> Iterator[PoolOrder]:
        return iter(self._orders)

    def add(self, order: PoolOrder) -> None:
        about = ABOUT[order.verb]
        if about is None:
            return
        self._orders = [
            earlier
            for earlier in self._orders
            if ABOUT[earlier.verb] != about or order.pool not in (None, earlier.pool)
        ]
        if (order.verb, order.pool) != ("resume", None):  # which is how pools begin
            self._orders.append(order)

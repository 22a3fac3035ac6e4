"""Statements of ``connection_created`` receivers on a session that was set up before.

Receivers run for each wrapper. What they set on the session is still there, and each reset restores
it. Sending it again would cost a round trip, and a reset, in every unit of work. So such a
statement is answered here and not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from pooldaemon.pool.drivers.mysql.sql.classify import DIRTY

if TYPE_CHECKING:
    from pooldaemon.pool.drivers.mysql.connection import PooledConnection

# Statements that change the session for good and return no rows. SET TRANSACTION ends with the next
# transaction; the others that are excluded do not concern the session.
_LASTING = re.compile(
    rb"""\s*(?: set \s+ (?! (?:transaction|statement|password|default) \b
                       | (?:@@)? (?:global|persist|persist_only) \b )
           | (?:create|drop) \s+ temporary \b | use \b | prepare \b )""",
    re.IGNORECASE | re.VERBOSE,
)


def settled(setup: Iterable[bytes]) -> frozenset[bytes]:
    """The statements of a session's set-up that are not sent again."""
    return frozenset(
        statement
        for statement in setup
        # With several statements in one, another may be of another kind.
        if _LASTING.match(statement) and b";" not in statement.rstrip(b"; \t\r\n")
    )


def without_repetition(connection: PooledConnection, run: Callable[[], object]) -> None:
    """Call *run*; of what it executes, the statements that are settled seem to have been sent.

    Until it sends one that changes the session: then the state after those is not the present one.
    """
    drivers = connection.cursorclass
    connection.cursorclass = _sparing(drivers)
    try:
        run()
    finally:
        connection.cursorclass = drivers


class _Sparing:
    """Mixed into a cursor class of the driver's."""

    _get_db: Callable[[], Any]

    def _query(self, q: Any) -> Any:
        connection = self._get_db()
        if (
            connection.dirty
            or bytes(q) not in connection.settled
            or not issubclass(connection.cursorclass, _Sparing)  # run() has ended
        ):
            return super()._query(q)  # type: ignore[misc]
        connection.expected, connection.vouched = False, DIRTY
        self._executed = q
        self._result = self.description = self.description_flags = None
        self._rows = ()
        self.rowcount = self.rownumber = self.lastrowid = self.warning_count = 0
        return 0


@cache
def _sparing(cursorclass: Any) -> Any:
    return type(cursorclass.__name__, (_Sparing, cursorclass), {})

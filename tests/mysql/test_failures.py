"""Whatever call of the driver's fails with the network, its connection is not lent again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import MySQLdb
import pytest
from django.db import connections
from django.db.utils import Error, OperationalError
from MySQLdb import _mysql
from MySQLdb.connections import Connection
from MySQLdb.cursors import SSCursor

from pooldaemon.pool.drivers.mysql.connection import PooledConnection
from pooldaemon.pool.drivers.mysql.failures import NEVER_SENDS, may_send
from pooldaemon.pool.queue import lease
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, session_id
from tests.support.relay import Relay, relay_to
from tests.unit.databases import AddDatabase

POOLS: list[dict[str, Any]] = [
    {"pool_size": 1},
    {"poolclass": "QueuePool", "pool_size": 1, "max_overflow": 0},
]

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "change_user": ("nobody", "", "nothing"),
    "kill": (0,),
    "literal": ("text",),
    "query": ("SELECT 1",),
    "select_db": ("mysql",),
    "send_query": ("SELECT 1",),
    "set_character_set": ("latin1",),
    "set_server_option": (0,),
    "set_sql_mode": ("ANSI",),
    **dict.fromkeys(("escape", "escape_string", "string_literal"), ("text",)),
}
"""For the methods that need some."""

CALLS = sorted(
    name
    for name in dir(Connection)
    if not name.startswith("_") and callable(getattr(Connection, name))
    if not isinstance(getattr(Connection, name), type)
)

SILENT = {"send_query", "use_result", *NEVER_SENDS}
"""Without an error when the network is gone: they read nothing yet."""

BIG = "SELECT REPEAT('x', 500000) FROM information_schema.COLLATIONS LIMIT 20"


def _begun(connection: Any) -> None:
    connection.query(BIG)


def _several(connection: Any) -> None:
    connection.query("SELECT 1; SELECT SLEEP(0.3)")
    connection.store_result()


# Some send, or read, only in the middle of something.
PREPARED: dict[str, Callable[[Any], None]] = {
    "next_result": _several,
    "store_result": _begun,
    "discard_result": _begun,
    "read_query_result": lambda connection: connection.send_query("DO SLEEP(0.3)"),
}


@pytest.fixture
def relay(scratch: Scratch) -> Iterator[Relay]:
    with relay_to(scratch.account.host, scratch.account.port) as relay:
        yield relay


def _through(relay: Relay, scratch: Scratch, add: AddDatabase, **pool: Any) -> str:
    account = replace(scratch.account, host="127.0.0.1", port=relay.port)
    return add({"read_timeout": 5}, to=account, timeout=5, **pool)


def _assert_never_lent_again(alias: str, lost: int) -> None:
    return_connection(alias)
    for _ in range(2):
        assert session_id(alias) != lost
        return_connection(alias)


@pytest.mark.parametrize("pool", POOLS, ids=["ours", "SQLAlchemy's"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_with_the_network_discards_the_connection(
    name: str, pool: dict[str, Any], relay: Relay, scratch: Scratch, add_pooled: AddDatabase
) -> None:
    alias = _through(relay, scratch, add_pooled, mode="session", **pool)
    lost = session_id(alias)
    connection = lease.physical(connections[alias].connection)
    PREPARED.get(name, lambda _: None)(connection)
    connection.broken = connection.dirty = False  # as far as the preparation goes
    relay.cut()
    call = getattr(connection, name)
    arguments = ARGUMENTS.get(name, (not connection.get_autocommit(),) * (name == "autocommit"))
    with suppress(MySQLdb.Error):
        call(*arguments)
    assert name in SILENT or connection.lost, "the test shows nothing"
    if name in may_send():
        assert connection.broken
        _assert_never_lent_again(alias, lost)


@pytest.mark.parametrize("pool", POOLS, ids=["ours", "SQLAlchemy's"])
@pytest.mark.parametrize("name", ["fetch_row", "discard"])
def test_rows_that_do_not_come_discard_the_connection(
    name: str, pool: dict[str, Any], relay: Relay, scratch: Scratch, add_pooled: AddDatabase
) -> None:
    alias = _through(relay, scratch, add_pooled, mode="session", **pool)
    lost = session_id(alias)
    cursor = connections[alias].connection.cursor(SSCursor)
    cursor.execute(BIG)
    cursor.fetchone()
    relay.cut()
    with pytest.raises(MySQLdb.Error):
        cursor.fetchall() if name == "fetch_row" else cursor.close()
    cursor._result = None  # as read to its end, as far as the cursor knows
    assert lease.physical(connections[alias].connection).lost
    _assert_never_lent_again(alias, lost)


def test_every_call_of_a_result_is_known() -> None:
    """Only these two read from the server, both in a cursor that reads row by row."""
    local = {"converter", "data_seek", "describe", "field_flags", "has_next", "num_fields"}
    calls = {name for name in dir(_mysql.result) if not name.startswith("_")}
    assert calls - local - {"num_rows"} == {"fetch_row", "discard"}


def test_every_method_that_may_send_is_watched() -> None:
    for name in {*may_send(), "query"}:
        assert getattr(PooledConnection, name) is not getattr(Connection, name), name


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("where", ["BEGIN", "in the middle of a result"])
def test_a_silence_that_read_timeout_ends_costs_one_unit(
    where: str, mode: str, relay: Relay, scratch: Scratch, add_pooled: AddDatabase
) -> None:
    account = replace(scratch.account, host="127.0.0.1", port=relay.port)
    alias = add_pooled({"read_timeout": 1}, to=account, mode=mode, pool_size=1, timeout=5)
    fetch(alias, "SELECT 1")
    return_connection(alias)
    relay.silence(after=0 if where == "BEGIN" else 5000)
    with pytest.raises(OperationalError):
        connections[alias].set_autocommit(False) if where == "BEGIN" else fetch(alias, BIG)
    assert relay.is_silent
    with suppress(Error):
        return_connection(alias)
    relay.heal()
    for _ in range(3):
        assert fetch(alias, "SELECT 7") == 7
        return_connection(alias)

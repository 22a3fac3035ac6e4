"""What a borrower keeps after the return is dead, and no door to the next borrower."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.db.utils import InterfaceError
from MySQLdb import Error as DriverError
from MySQLdb import InterfaceError as DriverInterfaceError
from MySQLdb import ProgrammingError as DriverProgrammingError
from MySQLdb.cursors import DictCursor, SSCursor

from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE

INTRUDE = "SET @intruder = 1"

# What a borrower keeps, and how it uses that later.
KEEP: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "handle": (lambda handle: handle, lambda kept: kept.query(INTRUDE)),
    "handle's cursor()": (lambda handle: handle, lambda kept: kept.cursor().execute(INTRUDE)),
    "handle's rollback()": (lambda handle: handle, lambda kept: kept.rollback()),
    "handle in a with": (lambda handle: handle, lambda kept: kept.__enter__().query(INTRUDE)),
    "cursor": (lambda handle: handle.cursor(), lambda kept: kept.execute(INTRUDE)),
    "dict cursor": (lambda handle: handle.cursor(DictCursor), lambda kept: kept.execute(INTRUDE)),
    "unbuffered cursor": (
        lambda handle: handle.cursor(SSCursor),
        lambda kept: kept.execute(INTRUDE),
    ),
    "cursor's connection": (
        lambda handle: handle.cursor().connection,
        lambda kept: kept.query(INTRUDE),
    ),
}


@pytest.mark.parametrize("what", KEEP)
def test_it_is_dead_after_the_return(alias: str, what: str) -> None:
    connections[alias].ensure_connection()
    first = session_id(alias)
    keep, use = KEEP[what]
    kept = keep(connections[alias].connection)
    return_connection(alias)
    assert session_id(alias) == first, "not the session that was kept a part of"
    with pytest.raises((DriverInterfaceError, DriverProgrammingError)):
        use(kept)
    assert fetch(alias, "SELECT @intruder") is None


def test_djangos_cursor_is_dead_after_the_return(alias: str) -> None:
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1")
    return_connection(alias)
    run(alias, "SELECT 1")
    with pytest.raises((InterfaceError, DatabaseError)):
        cursor.execute("SET @intruder = 1")
    assert fetch(alias, "SELECT @intruder") is None


def test_closing_a_kept_cursor_or_handle_does_not_disturb_the_next_borrower(alias: str) -> None:
    connections[alias].ensure_connection()
    handle = connections[alias].connection
    cursor = handle.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2")
    return_connection(alias)
    first = session_id(alias)
    cursor.close()
    with pytest.raises(DriverInterfaceError):
        handle.close()
    del cursor, handle
    assert session_id(alias) == first


def test_rows_already_fetched_can_be_read_after_the_return(alias: str) -> None:
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1 UNION SELECT 2")
    rows = cursor.fetchall()
    return_connection(alias)
    assert rows == ((1,), (2,))


def test_many_cursors_of_one_borrower_are_all_dead(alias: str) -> None:
    connections[alias].ensure_connection()
    cursors = [connections[alias].connection.cursor() for _ in range(200)]
    for cursor in cursors[::2]:
        cursor.close()
    return_connection(alias)
    run(alias, "SELECT 1")
    for cursor in cursors:
        with pytest.raises((DriverInterfaceError, DriverProgrammingError)):
            cursor.execute("SET @intruder = 1")


def test_a_connection_closed_by_hand_is_replaced(alias: str, scratch: Scratch) -> None:
    first = session_id(alias)
    connections[alias].connection.close()
    with pytest.raises((DatabaseError, InterfaceError)):
        fetch(alias, "SELECT 1")
    return_connection(alias)
    assert session_id(alias) != first
    wait_until(lambda: len(scratch.sessions()) == 1, DEADLINE, "the closed one is still there")


Step = Callable[[str, list[str]], None]


def note(seen: list[str], function: Callable[[], Any]) -> None:
    try:
        seen.append(repr(function()))
    except (
        DatabaseError,
        InterfaceError,
        DriverError,
        transaction.TransactionManagementError,
    ) as e:
        seen.append(f"{type(e).__module__}.{type(e).__name__}: {e}")


def close_in_atomic(alias: str, seen: list[str]) -> None:
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
        connections[alias].close()
        seen.append(str(connections[alias].closed_in_transaction))
        note(seen, lambda: fetch(alias, "SELECT 1"))


def close_in_atomic_and_leave(alias: str, seen: list[str]) -> None:
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
        connections[alias].close()


def close_in_nested_atomic(alias: str, seen: list[str]) -> None:
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
        note(seen, lambda: inner(alias))
        note(seen, lambda: fetch(alias, "SELECT 1"))


def inner(alias: str) -> None:
    with transaction.atomic(using=alias):
        connections[alias].close()


def close_in_atomic_and_raise(alias: str, seen: list[str]) -> None:
    with suppress(KeyError), transaction.atomic(using=alias):
        connections[alias].close()
        raise KeyError


def close_twice_in_atomic(alias: str, seen: list[str]) -> None:
    with transaction.atomic(using=alias):
        connections[alias].close()
        connections[alias].close()


def close_with_hook(alias: str, seen: list[str]) -> None:
    with transaction.atomic(using=alias):
        transaction.on_commit(lambda: seen.append("hook"), using=alias)
        connections[alias].close()


def driver_closed_in_atomic(alias: str, seen: list[str]) -> None:
    with transaction.atomic(using=alias):
        connections[alias].connection.close()
        note(seen, lambda: fetch(alias, "SELECT 1"))


@pytest.mark.parametrize(
    "step",
    [
        close_in_atomic,
        close_in_atomic_and_leave,
        close_in_nested_atomic,
        close_in_atomic_and_raise,
        close_twice_in_atomic,
        close_with_hook,
        driver_closed_in_atomic,
    ],
)
def test_close_inside_atomic_behaves_as_djangos(
    add_database: AddDatabase, scratch: Scratch, step: Step
) -> None:
    def outcome(engine: str, **options: Any) -> list[str]:
        alias = add_database(**scratch.account.settings(ENGINE=engine, OPTIONS=options))
        seen: list[str] = []
        note(seen, lambda: step(alias, seen))
        connection = connections[alias]
        seen.append(f"{connection.connection is None} {connection.in_atomic_block}")
        note(seen, lambda: fetch(alias, "SELECT COUNT(*) FROM t"))
        connection.close()
        return seen

    assert outcome("pooldaemon.backends.mysql", pool={"pool_size": 1, "timeout": 1}) == outcome(
        "django.db.backends.mysql"
    )

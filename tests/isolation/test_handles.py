"""Through the driver's own objects: what is done with them, and what is kept of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import Error as DjangoError
from MySQLdb import Error as DriverError
from MySQLdb.cursors import DictCursor, SSCursor

from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool
from tests.isolation.state import State, differences, observe

pytestmark = pytest.mark.mysql

THREE_ROWS = "SELECT 10 UNION SELECT 20 UNION SELECT 30"


def use_result_kept(handle: Any) -> Any:
    handle.query("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    return handle.use_result()


def unbuffered_cursor_kept(handle: Any) -> Any:
    cursor = handle.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    cursor.fetchone()
    return cursor


def unread_second_result(handle: Any) -> Any:
    cursor = handle.cursor()
    cursor.execute("SELECT 1; SET @leak = 1; SELECT 2")
    return cursor


def set_encoding(handle: Any) -> None:
    handle.encoding = "latin1"


def set_cursor_class(handle: Any) -> None:
    handle.cursorclass = DictCursor


def set_converter(handle: Any) -> None:
    handle.converter = {}


def add_encoder(handle: Any) -> None:
    handle.encoders[int] = lambda value, _: "7777"


def change_converter(handle: Any) -> None:
    handle.converter[8] = lambda value: "leak"  # LONGLONG, which COUNT(*) is


DONE_BY_HAND: dict[str, Callable[[Any], Any]] = {
    "select_db": lambda handle: handle.select_db("information_schema"),
    "set_character_set": lambda handle: handle.set_character_set("latin1"),
    "set_sql_mode": lambda handle: handle.set_sql_mode("ANSI_QUOTES"),
    "autocommit": lambda handle: handle.autocommit(False),
    "begin": lambda handle: handle.begin(),
    "set_server_option": lambda handle: handle.set_server_option(1),
    "use_result, kept": use_result_kept,
    "use_result, dropped": lambda handle: use_result_kept(handle) and None,
    "unbuffered cursor, kept": unbuffered_cursor_kept,
    "unread second result": unread_second_result,
    "close": lambda handle: handle.close(),
    "encoding": set_encoding,
    "cursor class": set_cursor_class,
    "converters, all": set_converter,
    "converter of numbers": change_converter,
    "encoder of numbers": add_encoder,
}


@pytest.mark.parametrize("reset", ["dirty", "always"])
@pytest.mark.parametrize("kind", DONE_BY_HAND)
def test_what_was_done_by_hand_is_not_seen_by_the_next_borrower(
    open_pool: OpenPool, pristine: State, mariadb: bool, kind: str, reset: str
) -> None:
    pool = open_pool(reset=reset)
    with pool.borrowed() as connection:
        kept = DONE_BY_HAND[kind](connection.connection)
    with pool.borrowed() as connection:
        assert differences(pristine, observe(connection, mariadb=mariadb)) == {}
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s, %s, COUNT(*) FROM seventeen", ["ß", 1])
            assert cursor.fetchone() == ("ß", 1, 17)
    del kept


@contextmanager
def next_borrower_reading(pool: Pooled) -> Iterator[Any]:
    """The next borrower is in the middle of an unbuffered result."""
    with pool.borrowed() as connection:
        cursor = connection.connection.cursor(SSCursor)
        cursor.execute(THREE_ROWS)
        assert cursor.fetchone() == (10,)
        yield cursor
        assert cursor.fetchall() == ((20,), (30,))


def test_a_result_kept_by_hand_takes_no_row_of_the_next_borrowers(open_pool: OpenPool) -> None:
    pool = open_pool()
    with pool.borrowed() as connection:
        result = use_result_kept(connection.connection)
    with next_borrower_reading(pool):
        try:
            rows = result.fetch_row(maxrows=0)
        except DriverError:
            rows = ()
        assert (20,) not in rows


def test_a_result_kept_by_hand_can_be_dropped_at_any_time(open_pool: OpenPool) -> None:
    pool = open_pool()
    with pool.borrowed() as connection:
        result = use_result_kept(connection.connection)
    with next_borrower_reading(pool):
        del result


def test_a_cursor_kept_unread_takes_no_row_of_the_next_borrowers(open_pool: OpenPool) -> None:
    pool = open_pool()
    with pool.borrowed() as connection:
        cursor = unbuffered_cursor_kept(connection.connection)
    with next_borrower_reading(pool), pytest.raises(DriverError):
        cursor.fetchone()


SET = "SET @leak = 1"

# What is kept of a connection, and how it is used later.
KEPT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "the handle": (lambda c: c.connection, lambda kept: kept.query(SET)),
    "the handle's cursor": (lambda c: c.connection.cursor(), lambda kept: kept.execute(SET)),
    "Django's cursor": (lambda c: c.cursor(), lambda kept: kept.execute(SET)),
    "a cursor's connection": (lambda c: c.cursor().cursor.connection, lambda kept: kept.query(SET)),
    "a raw cursor's connection": (
        lambda c: c.connection.cursor().connection,
        lambda kept: kept.query(SET),
    ),
    "its query": (lambda c: c.connection.query, lambda kept: kept(SET)),
    "its cursor factory": (lambda c: c.connection.cursor, lambda kept: kept().execute(SET)),
    "its select_db": (lambda c: c.connection.select_db, lambda kept: kept("information_schema")),
    "its autocommit": (lambda c: c.connection.autocommit, lambda kept: kept(False)),
    "its begin": (lambda c: c.connection.begin, lambda kept: kept()),
    "its charset": (lambda c: c.connection.set_character_set, lambda kept: kept("latin1")),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_is_no_door_into_the_next_borrowers_session(
    open_pool: OpenPool, pristine: State, mariadb: bool, kind: str
) -> None:
    keep, use = KEPT[kind]
    pool = open_pool()
    with pool.borrowed() as connection:
        kept = keep(connection)
    with pool.borrowed() as connection:
        with pytest.raises((DriverError, DjangoError)):
            use(kept)
        assert differences(pristine, observe(connection, mariadb=mariadb)) == {}


@pytest.mark.parametrize("method", ["close", "rollback", "commit"])
def test_a_kept_method_does_not_end_the_next_borrowers_transaction(
    open_pool: OpenPool, method: str
) -> None:
    pool = open_pool()
    with pool.borrowed() as connection:
        use = getattr(connection.connection, method)
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO numbers (a) VALUES (77)")
        with pytest.raises(DriverError):
            use()
        cursor.execute("ROLLBACK")
    assert pool.fetch("SELECT COUNT(*) FROM numbers WHERE a = 77") == 0

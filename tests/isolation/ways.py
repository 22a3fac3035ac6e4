"""Ways for a statement to get to the server."""

from collections.abc import Callable
from typing import Any

from MySQLdb.cursors import Cursor, SSCursor

Way = Callable[[Any, str], None]


def text(template: str) -> Way:
    """Django's cursor, with the statement put into *template*."""

    def way(connection: Any, sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(template.replace("{}", sql))

    return way


def with_parameters(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"/* %s */ {sql.replace('%', '%%')}", ["x"])


def in_bytes(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.encode())


def executemany(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(sql.replace("%", "%%"), [()])


def second_of_a_clean_cursor(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT a FROM t")
        cursor.execute(sql)
        cursor.execute("SELECT a FROM t")


def cursor_left_open(connection: Any, sql: str) -> None:
    connection.cursor().execute(sql)


def chunked_cursor(connection: Any, sql: str) -> None:
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql)


def raw_cursor(connection: Any, sql: str) -> None:
    connection.connection.cursor().execute(sql)


def raw_unbuffered_cursor(connection: Any, sql: str) -> None:
    connection.connection.cursor(SSCursor).execute(sql)


def cursor_of_ones_own(connection: Any, sql: str) -> None:
    cursor = Cursor(connection.connection)
    cursor.execute(sql)
    cursor.close()


def drivers_query(connection: Any, sql: str) -> None:
    connection.connection.query(sql)
    connection.connection.store_result()


def drivers_query_result_unread(connection: Any, sql: str) -> None:
    connection.connection.query(sql)


def drivers_send_query(connection: Any, sql: str) -> None:
    connection.connection.send_query(sql.encode())
    connection.connection.read_query_result()
    connection.connection.store_result()


def without_autocommit(connection: Any, sql: str) -> None:
    connection.set_autocommit(False)
    text("{}")(connection, sql)
    connection.rollback()
    connection.set_autocommit(True)


def prepared(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET @prepared = %s", [sql])
        cursor.execute("PREPARE other FROM @prepared")
        cursor.execute("EXECUTE other")


WAYS: dict[str, Way] = {
    "plain": text("{}"),
    "spaced": text(" \n\t{} "),
    "ended": text("{};"),
    "after a comment": text("/* SELECT 1 */ {}"),
    "after a line of comment": text("-- SELECT 1\n{}"),
    "after a hash": text("# SELECT 1\n{}"),
    "in an executable comment": text("/*! {} */"),
    "in a comment for new servers": text("/*!50000 {} */"),
    "after a statement": text("SELECT 1; {}"),
    "before a statement": text("{}; SELECT 1"),
    "between statements": text("SELECT 1; {}; SELECT 2"),
    "with parameters": with_parameters,
    "in bytes": in_bytes,
    "executemany": executemany,
    "among clean ones": second_of_a_clean_cursor,
    "cursor left open": cursor_left_open,
    "chunked cursor": chunked_cursor,
    "raw cursor": raw_cursor,
    "raw unbuffered cursor": raw_unbuffered_cursor,
    "cursor of one's own": cursor_of_ones_own,
    "driver's query": drivers_query,
    "driver's query, result unread": drivers_query_result_unread,
    "driver's send_query": drivers_send_query,
    "without autocommit": without_autocommit,
    "prepared": prepared,
}

# They reach the server as the first or only statement, whatever its kind.
ALWAYS_POSSIBLE = ("plain", "raw cursor", "driver's query", "in bytes")

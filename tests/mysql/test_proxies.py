"""Connections in proxies, as tracing packages return them from `MySQLdb.connect`."""

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import MySQLdb
import pytest
from django.db import connections, transaction
from MySQLdb.connections import Connection
from MySQLdb.cursors import DictCursor

from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.queue import lease
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.mode import MODES
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE

Log = list[str]

INSERT = "INSERT INTO t VALUES (1)"


class TracedCursor:
    def __init__(self, cursor: Any, log: Log) -> None:
        self.__wrapped__ = cursor
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__wrapped__)

    def execute(self, sql: Any, *args: Any) -> Any:
        self._log.append(sql)
        return self.__wrapped__.execute(sql, *args)


class Traced:
    """`__wrapped__` is what is inside, and `__class__` is that of what is inside."""

    def __init__(self, connection: Any, log: Log) -> None:
        self.__dict__.update(__wrapped__=connection, _log=log)

    @property
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__wrapped__, name, value)

    def cursor(self, *args: Any) -> Any:
        return TracedCursor(self.__wrapped__.cursor(*args), self._log)

    def commit(self) -> None:
        self._log.append("COMMIT")
        self.__wrapped__.commit()

    def spans(self) -> int:
        return len(self._log)


class Secretive:
    """What is inside is an attribute of some name."""

    def __init__(self, connection: Any, log: Log) -> None:
        self.__connection = connection
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__connection, name)

    def cursor(self, *args: Any) -> Any:
        return TracedCursor(self.__connection.cursor(*args), self._log)

    def commit(self) -> None:
        self._log.append("COMMIT")
        self.__connection.commit()

    spans = Traced.spans


class SelfMade(Traced):
    """Makes cursors without asking."""

    def cursor(self, *args: Any) -> Any:
        return TracedCursor(DictCursor(self.__wrapped__), self._log)


Wrap = Callable[[Callable[[Any], Any]], None]


@pytest.fixture
def wrap(monkeypatch: pytest.MonkeyPatch) -> Wrap:
    connect = MySQLdb.connect

    def wrap(around: Callable[[Any], Any]) -> None:
        monkeypatch.setattr(MySQLdb, "connect", lambda **options: around(connect(**options)))

    return wrap


@pytest.fixture
def log() -> Log:
    return []


PROXIES: dict[str, Callable[[Any, Log], Any]] = {
    "by __wrapped__": Traced,
    "by an attribute": Secretive,
    "two": lambda connection, log: Traced(Traced(connection, []), log),
}


@pytest.fixture(params=PROXIES)
def traced(request: pytest.FixtureRequest, wrap: Wrap, log: Log) -> Log:
    wrap(lambda connection: PROXIES[request.param](connection, log))
    return log


@pytest.mark.parametrize("pool", [{}, {"poolclass": "QueuePool"}], ids=["ours", "SQLAlchemy's"])
@pytest.mark.parametrize("mode", MODES)
def test_a_proxy_sees_each_statement_once(
    mode: str, pool: dict[str, Any], traced: Log, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(mode=mode, pool_size=1, **pool)
    fetch(alias, "SELECT 1")
    return_connection(alias)
    traced.clear()
    for _ in range(3):
        assert fetch(alias, "SELECT %s + 1", [41]) == 42
        with transaction.atomic(using=alias):
            run(alias, INSERT)
        return_connection(alias)
    assert traced == ["SELECT %s + 1", INSERT, "COMMIT"] * 3
    assert stats(alias).connects == 1
    assert stats(alias).resets == 0, "clean statements were not recognized"


@pytest.mark.parametrize("mode", MODES)
def test_statements_through_a_proxy_are_judged(
    mode: str, traced: Log, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(mode=mode, pool_size=1)
    run(alias, "SET @left = 1")
    return_connection(alias)
    assert fetch(alias, "SELECT @left") is None


@pytest.mark.parametrize("mode", MODES)
def test_what_was_got_through_a_proxy_is_dead_after_the_return(
    mode: str, traced: Log, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(mode=mode, pool_size=1)
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1")
    kept = connections[alias].connection
    query, commit = kept.query, kept.commit
    return_connection(alias)
    for use in (kept.cursor().execute, cursor.execute, query):
        with pytest.raises(Exception, match=r"returned|cursor closed"):
            use("SET @left = 1")
    with pytest.raises(MySQLdb.InterfaceError):
        commit()
    assert fetch(alias, "SELECT @left") is None


@pytest.mark.parametrize("mode", MODES)
def test_a_method_of_the_proxys_own_can_be_called(
    mode: str, traced: Log, add_pooled: AddDatabase
) -> None:
    alias = add_pooled(mode=mode, pool_size=1)
    fetch(alias, "SELECT 1")
    assert connections[alias].connection.spans() == len(traced)


@pytest.mark.parametrize("name", ["__wrapped__", "_log"])
def test_the_inside_of_a_proxy_is_no_way_around_the_handle(
    name: str, traced: Log, alias: str
) -> None:
    connections[alias].ensure_connection()
    with pytest.raises(AttributeError):
        getattr(connections[alias].connection, name)


def test_a_child_leaves_the_connection_in_a_proxy_to_its_parent(traced: Log, alias: str) -> None:
    first = session_id(alias)
    pid = os.fork()
    if not pid:
        try:
            os._exit(session_id(alias) == first)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert session_id(alias) == first


def test_a_closed_connection_and_its_proxy_are_freed_at_once(traced: Log, alias: str) -> None:
    connections[alias].ensure_connection()
    connection = weakref.ref(lease.physical(connections[alias].connection))
    gc.disable()
    try:
        return_connection(alias)
        connections[alias].pool.close()  # type: ignore[attr-defined]
        # The thread that has read the schema on it may not have ended yet.
        wait_until(lambda: connection() is None, DEADLINE, "something refers to it")
    finally:
        gc.enable()


def test_a_proxy_that_makes_cursors_itself_is_refused(
    wrap: Wrap, log: Log, alias: str, scratch: Scratch
) -> None:
    wrap(lambda connection: SelfMade(connection, log))
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match=r"cursor\(\) of a .*SelfMade.*'pool'\]"):
            fetch(alias, "SELECT 1")
    assert stats(alias).in_use == 0
    assert not log


def test_what_is_no_connection_of_mysqlclient_is_refused(
    wrap: Wrap, alias: str, scratch: Scratch
) -> None:
    wrap(lambda connection: SimpleNamespace(encoders={}))
    with pytest.raises(ImproperlyConfigured, match=r"returned a types\.SimpleNa.*'pool'\]"):
        fetch(alias, "SELECT 1")
    assert stats(alias).total == 0
    wait_until(lambda: not scratch.sessions(), DEADLINE, "its session is left open")


class WithMore(Connection):  # type: ignore[misc]
    """A subclass that adds to the driver's connection."""

    default_cursor = DictCursor

    def greet(self) -> str:
        return f"hello from {self.thread_id()}"


class MakesCursors(Connection):  # type: ignore[misc]
    def cursor(self, cursorclass: Any = None) -> Any:
        return TracedCursor(super().cursor(cursorclass), [])


class Queries(Connection):  # type: ignore[misc]
    def query(self, query: Any) -> None:
        super().query(b"/* shop */ " + query)


def _of(kind: type) -> Callable[[Any], Any]:
    def change(connection: Any) -> Any:
        connection.__class__ = kind
        return connection

    return change


@pytest.mark.parametrize("mode", MODES)
def test_a_subclass_of_the_drivers_connection_keeps_its_methods(
    mode: str, wrap: Wrap, add_pooled: AddDatabase
) -> None:
    wrap(_of(WithMore))
    alias = add_pooled(mode=mode, pool_size=1)
    number = session_id(alias)
    assert connections[alias].connection.greet() == f"hello from {number}"
    assert isinstance(connections[alias].connection.autocommit, Callable)  # type: ignore[arg-type]
    run(alias, "SET @left = 1")
    return_connection(alias)
    assert fetch(alias, "SELECT @left") is None


@pytest.mark.parametrize("mode", MODES)
def test_a_subclass_of_the_drivers_connection_can_wrap_cursors(
    mode: str, wrap: Wrap, add_pooled: AddDatabase
) -> None:
    wrap(_of(MakesCursors))
    alias = add_pooled(mode=mode, pool_size=1)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        assert type(cursor.cursor.cursor) is TracedCursor
    return_connection(alias)
    assert fetch(alias, "SELECT 7") == 7
    assert stats(alias).resets == 0


def test_a_subclass_that_sends_statements_itself_is_refused(wrap: Wrap, alias: str) -> None:
    wrap(_of(Queries))
    with pytest.raises(ImproperlyConfigured, match=r"overrides query\..*'cursorclass'"):
        fetch(alias, "SELECT 1")


@pytest.mark.parametrize("mode", MODES)
def test_to_look_at_a_method_costs_no_statement(
    mode: str, add_pooled: AddDatabase, scratch: Scratch
) -> None:
    alias = add_pooled(mode=mode, pool_size=1)
    fetch(alias, "SELECT 1")
    return_connection(alias)
    with connections[alias].cursor() as cursor:
        before = _statements(scratch)
        for name in ("info", "insert_id", "warning_count", "affected_rows", "no_such_thing"):
            getattr(connections[alias].connection, name, None)
            getattr(cursor.connection, name, None)
        assert _statements(scratch) == before
        cursor.execute("INSERT INTO t VALUES (1), (2)")
        assert "Records: 2" in str(cursor.connection.info())


def _statements(scratch: Scratch) -> int:
    user = scratch.account.user
    rows = scratch.admin.query(
        "SELECT SUM(COUNT_STAR) AS n FROM performance_schema."
        "events_statements_summary_by_user_by_event_name WHERE user = %s",
        [user],
    )
    return int(rows[0]["n"] or 0)

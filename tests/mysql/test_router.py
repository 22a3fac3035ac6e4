"""Behind MySQL Router, with its connections and the server's shared or not."""

import os
from collections.abc import Iterator
from dataclasses import replace
from threading import Event

import pytest
from django.db import OperationalError, transaction
from django.db.utils import Error

from pooldaemon import auto_close_db
from tests.mysql.scratch import Account, Scratch
from tests.mysql.use import fetch, run, stats
from tests.support import router
from tests.support.mode import MODES
from tests.support.poll import wait_until
from tests.support.router import Ports, router_before
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task

KINDS = ["plain", "sharing"]
REFUSED = 3566  # by the router
CLIENTS = 6
PATIENCE = 30.0


@pytest.fixture(scope="module")
def ports(session_scratch: Scratch) -> Iterator[Ports]:
    version = session_scratch.admin.query("SELECT VERSION() AS v")[0]["v"]
    if "mariadb" in version.lower():
        pytest.skip("MySQL Router is for MySQL")
    if not router.is_installed():
        pytest.skip("MySQL Router is not installed")
    server = Account.from_url(os.environ["DATABASE_URL"])
    with router_before(f"{server.host}:{server.port}") as ports:
        yield ports


@pytest.fixture
def connect(add_pooled: AddDatabase, scratch: Scratch, ports: Ports) -> AddDatabase:
    """Add the scratch database behind the router: `connect("sharing", pool_size=1)`."""

    def add(kind: str, **pool: object) -> str:
        account = replace(scratch.account, host="127.0.0.1", port=getattr(ports, kind))
        return add_pooled({"ssl_mode": "REQUIRED"}, to=account, timeout=5, **pool)

    return add


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_borrower_gets_a_clean_session(connect: AddDatabase, kind: str, mode: str) -> None:
    alias = connect(kind, pool_size=1, mode=mode)
    dirt = {
        "SET @left = 1": "SELECT @left IS NULL",
        "SET time_zone = '+03:00'": "SELECT @@time_zone <> '+03:00'",
        "CREATE TEMPORARY TABLE of_one (n INT)": "SELECT 1",
        "SELECT GET_LOCK('router', 0)": "SELECT IS_FREE_LOCK('router')",
        "SET SESSION TRANSACTION READ ONLY": "SELECT NOT @@transaction_read_only",
    }
    for _ in range(2):
        for leave, is_clean in dirt.items():
            with auto_close_db():
                run(alias, leave)
            with auto_close_db():
                assert fetch(alias, is_clean) == 1, leave
    assert stats(alias).connects == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_transactions_are_committed_and_rolled_back(
    connect: AddDatabase, kind: str, mode: str
) -> None:
    alias = connect(kind, pool_size=1, mode=mode)
    with auto_close_db(), transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")

    @auto_close_db
    def fail() -> None:
        with transaction.atomic(using=alias):
            run(alias, "INSERT INTO t VALUES (2)")
            run(alias, "SELECT nothing")

    with pytest.raises(Error):
        fail()
    with auto_close_db():
        assert fetch(alias, "SELECT GROUP_CONCAT(n) FROM t") == "1"
    assert (stats(alias).connects, stats(alias).resets) == (1, 0)


def sessions_while_held(alias: str, scratch: Scratch, statement: str) -> int:
    """How many the server has while so many threads hold a connection that ran *statement*."""
    end = Event()

    def hold(has_run: Event) -> None:
        with auto_close_db():
            run(alias, statement)
            has_run.set()
            end.wait(PATIENCE)

    threads = []
    for _ in range(CLIENTS):  # one after the other: those that run at once need one each
        has_run = Event()
        threads.append(Task(hold, has_run))
        assert has_run.wait(PATIENCE)
    number = len(scratch.sessions())
    end.set()
    for thread in threads:
        thread.result()
    return number


def test_clean_connections_do_not_keep_the_router_from_sharing(
    connect: AddDatabase, scratch: Scratch
) -> None:
    alias = connect("sharing", pool_size=CLIENTS, mode="session")
    assert sessions_while_held(alias, scratch, "SELECT COUNT(*) FROM t") < CLIENTS
    assert stats(alias).total == CLIENTS
    assert sessions_while_held(alias, scratch, "SET @pinned = 1") == CLIENTS
    # Until the pool's reset. The router keeps the sessions that it has.
    for session in scratch.sessions():
        scratch.admin.query(f"KILL {session.id}")
    wait_until(lambda: scratch.sessions() == [], PATIENCE, "they were not killed")
    assert sessions_while_held(alias, scratch, "SELECT COUNT(*) FROM t") < CLIENTS


@pytest.mark.parametrize("mode", MODES)
def test_what_the_pool_adds_to_a_statement_is_not_refused(
    connect: AddDatabase, scratch: Scratch, mode: str
) -> None:
    name = scratch.account.name
    scratch.admin.query(
        f"CREATE TABLE IF NOT EXISTS {name}.ids (id INT AUTO_INCREMENT PRIMARY KEY)"
    )
    scratch.admin.query(f"CREATE PROCEDURE {name}.asks() SELECT LAST_INSERT_ID() = @x")
    try:
        alias = connect("sharing", pool_size=1, mode=mode)
        for before in ("SET @x = 5", "SELECT 1", "INSERT INTO ids VALUES (NULL)"):
            with auto_close_db():
                run(alias, before)
                run(alias, "CALL asks()")
            with auto_close_db(), transaction.atomic(using=alias):
                run(alias, before)
                run(alias, "INSERT INTO ids VALUES (NULL)")  # or it has not begun
                run(alias, "CALL asks()")
                fetch(alias, "SELECT LAST_INSERT_ID(5)")
                assert fetch(alias, "SELECT LAST_INSERT_ID()") == 5
    finally:
        scratch.admin.query(f"DROP PROCEDURE {name}.asks")


def test_what_the_router_refuses_is_raised_and_leaves_the_connection_as_it_was(
    connect: AddDatabase,
) -> None:
    alias = connect("sharing", pool_size=1)
    for _ in range(2):
        with auto_close_db():
            run(alias, "INSERT INTO t VALUES (1)")
            with pytest.raises(OperationalError) as refused:
                fetch(alias, "SELECT LAST_INSERT_ID(5)")
            assert refused.value.args[0] == REFUSED
    with auto_close_db():
        assert fetch(alias, "SELECT COUNT(*) FROM t") == 2
    assert stats(alias).connects == 1

"""manage.py pooldaemon doctor, and check --database, on real servers with real mistakes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from io import StringIO
from typing import Any

import MySQLdb
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from pytest_django import Settings

from pooldaemon import close_pool
from pooldaemon.advice.case import read_databases
from pooldaemon.advice.server import look
from pooldaemon.checks import check_servers
from tests.mysql.scratch import Account, Scratch, scratch_on
from tests.support.poll import wait_until
from tests.support.server import Server
from tests.unit.databases import AddDatabase

LIMIT = 30


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with Server(f"--max-connections={LIMIT}") as server:
        yield server


@pytest.fixture
def shop(own_server: Server) -> Iterator[Scratch]:
    """An account on a sound server, which is sound again afterwards."""
    admin = own_server.admin
    with scratch_on(admin, own_server.url) as scratch:
        yield scratch
    wait_until(lambda: not own_server.processlist(), 10, "sessions are left")
    try:
        admin.query("FLUSH GLOBAL STATUS")  # without GLOBAL only the session's, since MariaDB 11.5
    except MySQLdb.ProgrammingError:
        admin.query("FLUSH STATUS")
    admin.query(f"SET GLOBAL wait_timeout = 28800, GLOBAL max_connections = {LIMIT}")


def doctor(alias: str, *words: str) -> tuple[list[dict[str, Any]], int]:
    """What it finds about this database, and its exit status."""
    out, status = StringIO(), 0
    try:
        call_command("pooldaemon", "doctor", "--json", "--database", alias, *words, stdout=out)
    except SystemExit as end:
        status = int(end.code or 0)
    except CommandError as error:
        status = error.returncode
    return json.loads(out.getvalue()), status


def ids(alias: str, *words: str) -> list[str]:
    found, status = doctor(alias, *words)
    assert status == (1 if found else 0)
    return [one["id"].removeprefix("pooldaemon.") for one in found]


def test_on_a_sound_server_it_says_nothing_and_leaves_no_session(
    add_database: AddDatabase, shop: Scratch, capsys: pytest.CaptureFixture[str]
) -> None:
    alias = add_database(**shop.account.settings())
    call_command("pooldaemon", "doctor", "--database", alias)
    assert capsys.readouterr() == ("", "")
    assert connections[alias].connection is None
    wait_until(lambda: not shop.sessions(), 10, "it has left a session")


def test_on_the_server_of_these_tests_nothing_is_wrong_with_the_settings(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    alias = add_database(**scratch.account.settings())
    assert check_servers(databases=[alias]) == []


def test_on_the_server_of_these_tests_mistakes_are_named(
    add_database: AddDatabase, scratch: Scratch
) -> None:
    options = {"isolation_level": None, "charset": "utf8mb3", "pool": {"recycle": 50_000}}
    alias, name = add_database(**scratch.account.settings(OPTIONS=options)), scratch.account.name
    scratch.admin.query(f"REVOKE TRIGGER ON {name}.* FROM {name}@'%'")
    try:
        found = [str(message.id) for message in check_servers(databases=[alias])]
    finally:
        scratch.admin.query(f"GRANT TRIGGER ON {name}.* TO {name}@'%'")
    assert found == [f"pooldaemon.W0{number}" for number in (10, 11, 12, 13)]


OPTIONS = "OPTIONS"

SETTINGS: list[tuple[str, dict[str, Any], Sequence[str]]] = [
    ("W005", {OPTIONS: {"connect_timeout": 0}}, ()),
    ("W006", {"AUTOCOMMIT": False}, ()),
    ("W007", {"ATOMIC_REQUESTS": True, OPTIONS: {"pool": {"mode": "transaction"}}}, ()),
    ("W009", {}, ("--web-processes", "4")),
    ("W010", {OPTIONS: {"pool": {"recycle": 50_000}}}, ()),
    ("W011", {OPTIONS: {"isolation_level": "repeatable read"}}, ()),
    ("W011", {OPTIONS: {"isolation_level": None}}, ()),
    ("W012", {OPTIONS: {"charset": "utf8mb3"}}, ()),
    # On Linux another name of this machine; nothing here says that it is.
    ("D001", {"HOST": "0.0.0.0"}, ()),
]


@pytest.mark.parametrize(("name", "settings", "words"), SETTINGS)
def test_a_mistake_in_the_settings_is_named(
    add_database: AddDatabase,
    shop: Scratch,
    name: str,
    settings: dict[str, Any],
    words: Sequence[str],
) -> None:
    assert ids(add_database(**shop.account.settings(**settings)), *words) == [name]


def test_an_account_without_the_privilege_to_see_triggers_is_named(
    add_database: AddDatabase, shop: Scratch
) -> None:
    alias, user = add_database(**shop.account.settings()), shop.account.user
    shop.admin.query(f"REVOKE TRIGGER ON {user}.* FROM {user}@'%'")
    (found,), _ = doctor(alias)
    assert found["id"] == "pooldaemon.W013"
    assert found["advice"].startswith(f"GRANT TRIGGER ON `{user}`.* TO ")
    shop.admin.query(f"GRANT TRIGGER ON {user}.* TO {user}@'%'")
    assert ids(alias) == []


def test_a_suspect_view_is_named_in_transaction_mode(
    add_database: AddDatabase, shop: Scratch
) -> None:
    shop.admin.query(f"CREATE VIEW {shop.account.name}.v AS SELECT SLEEP(0), LAST_INSERT_ID() AS n")
    settings = shop.account.settings(OPTIONS={"pool": {"mode": "transaction"}})
    (found,), _ = doctor(add_database(**settings))
    assert found["id"] == "pooldaemon.W013"
    assert "that v leave nothing on a session" in found["found"]


def test_a_database_of_three_byte_characters_is_named(
    add_database: AddDatabase, shop: Scratch
) -> None:
    shop.admin.query(f"ALTER DATABASE {shop.account.name} CHARACTER SET utf8mb3")
    assert ids(add_database(**shop.account.settings())) == ["W012"]


def test_a_server_that_ends_idle_connections_early_is_named(
    add_database: AddDatabase, shop: Scratch
) -> None:
    shop.admin.query("SET GLOBAL wait_timeout = 100")
    (found,), _ = doctor(add_database(**shop.account.settings()))
    assert found["id"] == "pooldaemon.W010"
    assert "['recycle'] to 90," in found["advice"]


def test_an_account_with_too_few_connections_is_named(
    add_database: AddDatabase, own_server: Server
) -> None:
    limit = "WITH MAX_USER_CONNECTIONS 9"
    with scratch_on(own_server.admin, own_server.url, limit) as few:
        (found,), _ = doctor(add_database(**few.account.settings()))
    assert found["id"] == "pooldaemon.W009"
    assert "allows 9 connections (max_user_connections)" in found["found"]


def test_a_server_that_was_full_is_named(add_database: AddDatabase, shop: Scratch) -> None:
    alias = add_database(**shop.account.settings())
    with ExitStack() as others:
        for _ in range(LIMIT - 1):
            others.callback(connect(shop.account).close)
    (found,), _ = doctor(alias)
    assert found["id"] == "pooldaemon.D002"
    assert f"has had {LIMIT} of its {LIMIT} connections" in found["found"]


def test_logins_that_fail_are_named(add_database: AddDatabase, shop: Scratch) -> None:
    for _ in range(25):
        with suppress(MySQLdb.OperationalError):
            connect(shop.account, password="wrong")
    assert ids(add_database(**shop.account.settings())) == ["D003"]


def test_clients_that_leave_without_a_goodbye_are_named(
    add_database: AddDatabase, shop: Scratch
) -> None:
    for _ in range(25):
        client = connect(shop.account)
        shop.admin.kill(client.thread_id())
        client.close()
    wait_until(lambda: shop.admin.status("Aborted_clients") >= 25, 10, "they are not counted")
    assert ids(add_database(**shop.account.settings())) == ["D004"]


def test_an_unpooled_engine_beside_ours_is_named(add_database: AddDatabase, shop: Scratch) -> None:
    add_database(**shop.account.settings())
    beside = add_database(**shop.account.settings(ENGINE="django.db.backends.mysql"))
    assert ids(beside) == ["W003"]


def test_a_cap_that_the_process_never_reaches_is_named(
    add_database: AddDatabase, shop: Scratch, settings: Settings
) -> None:
    settings.POOLDAEMON = {"MAX_PROCESS_CONNECTIONS": 8}
    assert ids(add_database(**shop.account.settings())) == ["W004"]


def test_a_wrong_setting_is_reported_by_the_doctor_too_which_can_not_connect(
    add_database: AddDatabase, shop: Scratch
) -> None:
    wrong = {"pool": {"pool_sise": 3}}
    (found,), status = doctor(add_database(**shop.account.settings(OPTIONS=wrong)))
    assert (found["id"], found["severity"], status) == ("pooldaemon.E001", "error", 2)


def test_several_mistakes_are_all_named(add_database: AddDatabase, shop: Scratch) -> None:
    options = {"isolation_level": "serializable", "pool": {"recycle": 86400}}
    alias = add_database(**shop.account.settings(OPTIONS=options))
    assert ids(alias, "--web-processes", "9") == ["W009", "W010", "W011"]


def test_a_full_pool_is_no_reason_not_to_look(add_database: AddDatabase, shop: Scratch) -> None:
    alias = add_database(**shop.account.settings(OPTIONS={"pool": {"pool_size": 1, "timeout": 0}}))
    connections[alias].ensure_connection()
    (database,) = (one for one in read_databases() if one.alias == alias)
    assert look(database).server is not None
    close_pool(alias)


def test_a_server_that_can_not_be_asked_is_said_with_status_2_and_no_password(
    add_database: AddDatabase, shop: Scratch, capsys: pytest.CaptureFixture[str]
) -> None:
    alias = add_database(**shop.account.settings(PASSWORD="s3cret"))
    with pytest.raises(CommandError, match=f"^Not examined: database {alias}: ") as raised:
        call_command("pooldaemon", "doctor", "--database", alias)
    assert raised.value.returncode == 2
    assert "s3cret" not in str(raised.value)
    assert check_servers(databases=[alias]) == []


def test_checks_of_servers_are_for_the_databases_that_are_named(
    add_database: AddDatabase, shop: Scratch
) -> None:
    alias = add_database(**shop.account.settings(OPTIONS={"isolation_level": "serializable"}))
    assert [message.id for message in check_servers(databases=[alias])] == ["pooldaemon.W011"]
    assert check_servers(databases=None) == []


def connect(account: Account, **changes: Any) -> Any:
    known = {"user": account.user, "password": account.password, **changes}
    return MySQLdb.connect(host=account.host, port=account.port, connect_timeout=10, **known)

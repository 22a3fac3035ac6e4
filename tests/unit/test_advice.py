"""The rules of the checks and the doctor: what each finds, and that each is silent otherwise."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error
from pytest_django import Settings

from pooldaemon import advice
from pooldaemon.advice.case import Case, Code, Database, Processes
from pooldaemon.advice.daemons import configured, running, uses
from tests.unit.advice import daemon, database, pool, server, times

ALL = (*advice.SETTINGS, *advice.DEPLOY, *advice.SERVERS, *advice.LOAD)
OLDER = ("E001", "E002", "W001", "W002")
DOCS = Path(__file__).parents[2] / "docs" / "checks.rst"

TLS = {"ssl": {"ca": "/etc/ca.pem"}}


def find(case: Case) -> list[CheckMessage]:
    return advice.examine(case, ALL)


def ids(case: Case) -> list[str]:
    return [str(message.id).removeprefix("pooldaemon.") for message in find(case)]


def case_of(*databases: Database, status: dict[str, Any] | None = None, **known: Any) -> Case:
    used = tuple(uses(status)) if status else ()
    return Case(databases=databases, uses=used, **known)


def sound(pool: Any = None, **at: Any) -> Database:
    return database(pool=pool, at=server(**at), OPTIONS=TLS)


def test_every_id_has_its_place_in_the_docs_and_no_other_has() -> None:
    anchors = re.findall(r"^\.\. _pooldaemon-(\w+):$", DOCS.read_text(), re.MULTILINE)
    titles = re.findall(r"^``pooldaemon\.(\w+)``$", DOCS.read_text(), re.MULTILINE)
    known = [*OLDER, *(rule.id for rule in ALL)]
    assert len(known) == len(set(known))
    assert sorted(anchors) == sorted(name.lower() for name in known)
    assert sorted(titles) == sorted(known)


def test_nothing_is_said_about_what_is_sound() -> None:
    processes = (Processes("web", 4), running(daemon(pool(), pool(), max_connections=4)))
    case = case_of(sound(), status=daemon(pool(), pool()), processes=processes, max_process=20)
    assert find(case) == []


MISTAKES: list[tuple[str, Database, str]] = [
    ("W003", database("other", OPTIONS=TLS), "of 'default': no cap limits"),
    (
        "W004",
        database(pool={"pool_size": 30}, OPTIONS=TLS),
        "never reach its cap of 30 connections",
    ),
    (
        "W004",
        database(pool={"pool_size": 15, "max_overflow": 10}, OPTIONS=TLS),
        "never reach its cap of 25 connections",
    ),
    ("W005", database(OPTIONS={**TLS, "connect_timeout": 0}), "['connect_timeout'] is 0: a server"),
    ("W005", database(OPTIONS={**TLS, "connect_timeout": 300}), "is 300: a server"),
    ("W005", database(OPTIONS={**TLS, "connect_timeout": "10"}), "is '10': a server"),
    ("W006", database(AUTOCOMMIT=False, OPTIONS=TLS), "['AUTOCOMMIT'] is False"),
    (
        "W007",
        database(pool={"mode": "transaction"}, ATOMIC_REQUESTS=True, OPTIONS=TLS),
        "has no effect in views",
    ),
    ("W008", database(), "is on db.internal and does not require TLS"),
    ("W008", database(OPTIONS={"ssl_mode": "PREFERRED"}), "does not require TLS"),
    ("W010", sound({"recycle": 300}, wait_timeout=120), "recycle is 300 s"),
    ("W010", sound({"recycle": -1}, wait_timeout=120), "max_idle is 600 s"),
    ("W010", sound({"recycle": -1, "max_idle": -1}), "max_idle is unlimited"),
    ("W011", sound(isolation="REPEATABLE-READ"), "is REPEATABLE-READ"),
    ("W012", sound(character_set_connection="utf8mb3"), "connection's character set is utf8mb3"),
    ("W012", sound(character_set_database="latin1"), "character set latin1"),
    (
        "W013",
        sound(code=Code(unseen=("TRIGGER",), all_writes=True)),
        "shop@% can't see the triggers of tables that it may write",
    ),
    (
        "W013",
        sound(code=Code(suspects=("a_view",), unseen=("SHOW VIEW",))),
        "shop@% can't see the definitions of a_view",
    ),
    (
        "W013",
        sound({"mode": "transaction"}, code=Code(suspects=tuple("abcdefg"))),
        "can't be proven that a, b, c, d, e and 2 more leave nothing",
    ),
    ("W014", sound(version="10.6.18-MariaDB-log"), "MariaDB 10.6.18"),
    ("W014", sound(version="5.5.5-10.5.1-MariaDB"), "MariaDB 5.5.5-10.5.1"),
    ("W014", sound(version="8.0.36"), "MySQL 8.0.36"),
    ("D001", sound(cipher=""), "connection to db.internal is not encrypted"),
    ("D002", sound(status={"Max_used_connections": 85}), "85 of its 100 connections"),
    ("D002", sound(status={"Connection_errors_max_connections": 1}), "has refused 1"),
    ("D003", sound(status={"Aborted_connects": 51}), "51 of 1000 connections"),
    ("D004", sound(status={"Aborted_clients": 51}), "51 of 1000 connections"),
]


@pytest.mark.parametrize(("name", "mistaken", "said"), MISTAKES)
def test_a_mistake_is_named_with_its_figures_and_alone(
    name: str, mistaken: Database, said: str
) -> None:
    databases = [mistaken]
    if name == "W003":
        engine = {**mistaken.settings, "ENGINE": "django.db.backends.mysql"}
        unpooled = Database("other", "mysql", engine, is_ours=False)
        databases = [database(OPTIONS=TLS), unpooled]
    (message,) = find(case_of(*databases, max_process=20))
    assert message.id == f"pooldaemon.{name}"
    assert said in message.msg
    assert str(message.hint).endswith(f"See docs/checks.rst#pooldaemon-{name.lower()}.")


@pytest.mark.parametrize(
    "known",
    [
        sound({"max_idle": 60, "recycle": -1}, wait_timeout=120),
        sound({"recycle": 100, "max_idle": -1}, wait_timeout=120),
        sound(code=Code(suspects=("t",))),  # in session mode that can't be helped
        sound({"reset": "never", "mode": "transaction"}, code=Code(all_writes=True)),
        sound({"hidden_code": "harmless"}, code=Code(unseen=("TRIGGER",), all_writes=True)),
        sound(version="8.4.0"),
        sound(version="10.11.19-MariaDB"),
        database(HOST="127.0.0.1", at=server(cipher="")),
        database(HOST="", at=server(cipher="")),
        database(OPTIONS={"unix_socket": "/run/mysqld.sock"}, at=server(cipher="")),
        database(OPTIONS={"ssl_mode": "REQUIRED"}),
        sound(status={"Aborted_clients": 19, "Connections": 30}),
        sound(status={"Aborted_connects": 19, "Connections": 30}),
    ],
)
def test_what_looks_like_a_mistake_and_is_none_is_passed_over(known: Database) -> None:
    assert ids(case_of(known)) == []


def test_pool_settings_beside_an_engine_without_a_pool_are_an_error() -> None:
    settings = {"ENGINE": "django.db.backends.mysql", "OPTIONS": {"pool": {"pool_size": 3}}}
    (message,) = find(case_of(Database("default", "mysql", settings, is_ours=False)))
    assert isinstance(message, Error)
    assert message.id == "pooldaemon.E003"
    assert "ENGINE is 'django.db.backends.mysql', which has no pool" in message.msg


def test_a_check_that_is_silenced_is_silenced_for_the_doctor_too(settings: Settings) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["pooldaemon.W012"]
    assert ids(case_of(sound(character_set_database="latin1"))) == []


# -- room on the server -------------------------------------------------------------------

WEB = Processes("web", 8)


def test_processes_of_all_kinds_are_added_up_and_compared_with_the_servers_limit() -> None:
    workers = running(daemon(pool(), pool(), max_connections=12))
    (message,) = find(case_of(sound(), processes=(WEB, workers)))
    assert message.id == "pooldaemon.W009"
    assert message.msg == (
        "The server db1:3306 allows 100 connections (max_connections), but 105 may be opened: "
        "web: 8 processes with 10 each; deliver: 2 processes with 12 each; 1 for helper processes."
    )
    assert str(message.hint).startswith(
        "Set pool_size (for daemons max_connections) to at most 9, or the server's "
        "max_connections to at least 105, "
    )


def test_the_limit_of_the_account_is_judged_by_itself() -> None:
    (message,) = find(case_of(sound(max_user_connections=79), processes=(WEB,)))
    assert "allows 79 connections (max_user_connections)" in message.msg


@pytest.mark.parametrize(
    ("databases", "known"),
    [
        # They share one pool.
        ([sound(), database("default", at=server(), OPTIONS=TLS)], {}),
        ([sound(), database("b", at=server(name="db2:3306"), OPTIONS=TLS)], {}),
        ([sound(), database("b", at=server(), OPTIONS=TLS)], {"max_process": 12}),
        ([database(pool=False, at=server(), OPTIONS=TLS)], {}),
        ([database(pool={"poolclass": "NullPool"}, at=server(), OPTIONS=TLS)], {}),
    ],
)
def test_what_fits_is_not_reported(databases: list[Database], known: dict[str, Any]) -> None:
    assert ids(case_of(*databases, processes=(WEB,), **known)) == []


def test_databases_of_one_server_are_added_up() -> None:
    databases = [sound(), database("b", at=server(), OPTIONS=TLS)]
    (message,) = find(case_of(*databases, processes=(WEB,)))
    assert message.obj == "default, b"
    assert "web: 8 processes with 20 each" in message.msg
    assert "to at most 6," in str(message.hint)


def test_a_total_of_a_daemon_holds_whatever_the_pools_allow() -> None:
    workers = running(daemon(*[pool()] * 20, total_connections=90))
    assert ids(case_of(sound(), processes=(workers,))) == []


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ({}, []),
        ({"PROCESSES": 3, "MAX_CONNECTIONS": {"default": 2}}, [(3, {"default": 2})]),
        ({"PROCESSES": "x"}, []),
    ],
)
def test_a_daemon_that_is_only_configured_is_counted_if_the_settings_say_how_many_processes(
    settings: Settings, given: dict[str, Any], counted: list[Any]
) -> None:
    settings.POOLDAEMON = given
    assert [(some.count, some.caps) for some in configured()] == counted


# -- under load ---------------------------------------------------------------------------

LOAD: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("D005", {"connect": times(30, 0.2)}, {}, "Half of 30 connects took longer than 0.1 s"),
    ("D006", {"timeouts": 2}, {}, "With 4 connections in a worker, 2 borrows timed out"),
    ("D006", {"rejected": 7}, {}, "7 failed at once because the queue was full"),
    ("D006", {"wait": times(200, 0.7)}, {}, "1 in 100 waited longer than 0.5 s"),
    ("D007", {"timeouts": 2, "use": times(99, 0.3)}, {}, "8 threads share"),
    (
        "D008",
        {"cap": 40, "peak": 3},
        {"max_connections": 40},
        "The cap is 40, but no worker has had more than 3 connections at a time",
    ),
    (
        "D009",
        {"discards": {"thread ended": 2}},
        {},
        "2 threads ended without returning a connection.",
    ),
    (
        "D009",
        {"holders": [{"thread": "t", "seconds": 301.0, "place": "a.py:3 in b"}]},
        {},
        "held for 301 s by t, borrowed at a.py:3 in b.",
    ),
    ("D010", {"connect_errors": 20}, {}, "20 of 24 attempts to connect failed."),
    ("D011", {"connects": 30, "discards": {"dead": 21}}, {}, "21 of 30 connections were dead"),
    ("D012", {"resets": 4900}, {}, "4900 of 5000 returns"),
    ("D013", {"paused": True}, {}, "is paused"),
]


@pytest.mark.parametrize(("name", "changes", "options", "said"), LOAD)
def test_what_shows_under_load_is_named_with_its_figures_and_alone(
    name: str, changes: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    (message,) = find(case_of(sound(), status=daemon(pool(**changes), **options)))
    assert message.id == f"pooldaemon.{name}"
    assert message.obj == "deliver, pool mysql shop@db.internal/shop"
    assert said in message.msg


@pytest.mark.parametrize(
    ("options", "place", "size"),
    [
        ({}, "DATABASES['default']['OPTIONS']['pool']['pool_size']", 8),
        ({"max_connections": 4}, "--max-connections", 8),
        ({"max_connections": {"*": 4}}, "--max-connections", 8),
        ({"max_connections": {"other": 4}}, "DATABASES['default']", 8),
        ({"total_connections": 9}, "--total-connections", 8),
        ({"threads": 5}, "DATABASES['default']", 5),
    ],
)
def test_the_advice_names_the_setting_that_the_cap_comes_from(
    options: dict[str, Any], place: str, size: int
) -> None:
    (message,) = find(case_of(sound(), status=daemon(pool(timeouts=1), **options)))
    assert str(message.hint).startswith(f"Set {place}")
    assert f"so that a worker has {size} connections" in str(message.hint)


def test_more_connections_are_no_help_to_threads_that_are_fewer() -> None:
    (message,) = find(case_of(sound(), status=daemon(pool(timeouts=1), threads=3)))
    assert str(message.hint).startswith("Look for units that borrow a second connection")


@pytest.mark.parametrize(
    "there",
    [
        sound({"mode": "transaction"}),
        sound({"reset": "never"}),
        database(OPTIONS=TLS),
    ],
)
def test_transaction_mode_is_not_advised_where_it_has_no_effect_or_nobody_knows(
    there: Database,
) -> None:
    status = daemon(pool(timeouts=2, use=times(99, 0.3)))
    assert ids(case_of(there, status=status)) == ["D006"]


def test_the_grant_that_ends_it_is_given_in_full() -> None:
    (message,) = find(case_of(sound(code=Code(unseen=("TRIGGER",), all_writes=True))))
    assert str(message.hint).startswith("GRANT TRIGGER ON `default`.* TO 'shop'@'%'; or, ")


def test_resets_that_hidden_code_makes_necessary_are_not_reported_again() -> None:
    status = daemon(pool(resets=4900))
    assert ids(case_of(sound(code=Code(suspects=("a_view",))), status=status)) == []


def test_looking_up_names_is_advised_against_only_where_it_is_done() -> None:
    status = daemon(pool(connect=times(30, 0.2)))
    for on, advised in [(1, False), (0, True)]:
        (message,) = find(case_of(sound(skip_name_resolve=on), status=status))
        assert ("skip_name_resolve" in str(message.hint)) is advised


def test_the_pools_of_one_name_in_several_workers_are_one() -> None:
    (use,) = uses(daemon(pool(timeouts=1, peak=2), pool(timeouts=2, peak=3)))
    assert use.counters["timeouts"] == 3
    assert (use.peak, use.cap) == (3, 4)
    assert use.use.count == 10_000


def test_pools_without_a_cap_and_workers_without_a_report_are_passed_over() -> None:
    status = daemon(pool(cap=None, paused=True))
    status["workers"].append({"age": 0.1})
    assert list(uses(status)) == []

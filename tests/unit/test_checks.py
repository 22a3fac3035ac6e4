"""manage.py check: wrong pool settings by id, place and text."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Error, Tags, Warning, run_checks
from django.db import connections
from pytest_django import Settings

from pooldaemon.backends.mysql.historic import historic_settings
from pooldaemon.checks import (
    check_deployment,
    check_pool_settings,
    check_pooldaemon_settings,
    check_settings_together,
)
from pooldaemon.exceptions import ImproperlyConfigured
from tests.unit.databases import AddDatabase

pytest.importorskip("MySQLdb")

MYSQL = "pooldaemon.backends.mysql"
SQLITE = "pooldaemon.backends.sqlite3"
ROOT = Path(__file__).parents[2]


def messages(alias: str) -> list[Any]:
    return [message for message in check_pool_settings() if message.obj == alias]


def warnings_of_checks() -> list[Any]:
    return [message for message in check_pool_settings() if message.id == "pooldaemon.W001"]


@pytest.mark.parametrize("engine", [MYSQL, SQLITE])
@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"pool_sise": 5}, "['pool']['pool_sise'] is not a setting of FairQueuePool. Did you mean"),
        ({"pool_size": "ten"}, "['pool']['pool_size'] is 'ten'; it must be a whole number from 1"),
        ({"poolclass": "Nope"}, "there is no pool class 'Nope'."),
        ({"poolclass": "StaticPool"}, "StaticPool can't be used: it is one connection"),
        (7, "['pool'] is 7; it must be a dict, True or False."),
    ],
)
def test_wrong_pool_settings_are_error_e001(
    add_database: AddDatabase, engine: str, pool: Any, expected: str
) -> None:
    alias = add_database(ENGINE=engine, NAME="unit", OPTIONS={"pool": pool})
    (message,) = messages(alias)
    assert isinstance(message, Error)
    assert message.id == "pooldaemon.E001"
    assert message.msg.startswith(f"DATABASES['{alias}']['OPTIONS']")
    assert expected in message.msg
    assert "docs/settings" in (message.hint or "")


def test_transaction_mode_on_sqlite_is_error_e001(add_database: AddDatabase) -> None:
    alias = add_database(ENGINE=SQLITE, NAME="unit", OPTIONS={"pool": {"mode": "transaction"}})
    (message,) = messages(alias)
    assert message.id == "pooldaemon.E001"
    assert (
        "['mode'] is 'transaction', which pooldaemon.backends.sqlite3.base does not" in message.msg
    )


@pytest.mark.parametrize(
    ("mode", "autocommit", "ids"),
    [
        ("transaction", False, ["pooldaemon.W002"]),
        ("transaction", True, []),
        ("session", False, []),
    ],
)
def test_transaction_mode_without_autocommit_is_warning_w002(
    add_database: AddDatabase, mode: str, autocommit: bool, ids: list[str]
) -> None:
    options = {"pool": {"mode": mode}}
    alias = add_database(ENGINE=MYSQL, NAME="unit", AUTOCOMMIT=autocommit, OPTIONS=options)
    assert [message.id for message in messages(alias)] == ids


def test_a_kept_connection_is_error_e001(add_database: AddDatabase) -> None:
    alias = add_database(ENGINE=MYSQL, NAME="unit", CONN_MAX_AGE=60)
    (message,) = messages(alias)
    assert message.id == "pooldaemon.E001"
    assert message.msg.startswith(f"DATABASES['{alias}']['CONN_MAX_AGE'] is 60; with a pool it ")


@pytest.mark.parametrize("pool", [True, False, None, {}, {"pool_size": 3}])
def test_right_settings_are_silent(add_database: AddDatabase, pool: Any) -> None:
    assert messages(add_database(ENGINE=MYSQL, NAME="unit", OPTIONS={"pool": pool})) == []


def test_one_wrong_database_hides_no_other(add_database: AddDatabase) -> None:
    wrong = {"pool": {"pool_size": 0}}
    aliases = [add_database(ENGINE=SQLITE, NAME="x", OPTIONS=wrong) for _ in range(2)]
    assert [len(messages(alias)) for alias in aliases] == [1, 1]


def test_other_backends_are_left_alone(add_database: AddDatabase) -> None:
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": "x", "CONN_MAX_AGE": 60}
    assert messages(add_database(**settings)) == []


def test_checking_connects_to_nothing(add_database: AddDatabase, tmp_path: Path) -> None:
    path = tmp_path / "never-made"
    alias = add_database(ENGINE=SQLITE, NAME=str(path))
    check_pool_settings()
    check_settings_together()
    check_deployment()
    assert connections[alias].connection is None
    assert not path.exists()


def test_the_check_is_registered(add_database: AddDatabase) -> None:
    alias = add_database(ENGINE=SQLITE, NAME="unit", OPTIONS={"pool": {"pool_size": 0}})
    found = [m for m in run_checks(tags=[Tags.compatibility]) if m.id == "pooldaemon.E001"]
    assert [message.obj for message in found] == [alias]


def test_tls_is_asked_for_at_deployment_only(add_database: AddDatabase) -> None:
    alias = add_database(ENGINE=MYSQL, NAME="unit", HOST="db.internal")
    for deploy, ids in [(False, []), (True, ["pooldaemon.W008"])]:
        found = run_checks(tags=[Tags.security], include_deployment_checks=deploy)
        assert [message.id for message in found if message.obj == alias] == ids


def test_pool_settings_of_djangos_own_engine_are_error_e003(add_database: AddDatabase) -> None:
    alias = add_database(
        ENGINE="django.db.backends.mysql", NAME="unit", OPTIONS={"pool": {"pool_size": 3}}
    )
    found = [message for message in run_checks(tags=["pooldaemon"]) if message.obj == alias]
    assert [message.id for message in found] == ["pooldaemon.E003"]


def test_manage_py_check_reports_a_wrong_setting_without_a_traceback(tmp_path: Path) -> None:
    # With a JSONField Django 6.1's own checks connect, and may come before ours.
    (tmp_path / "wrong.py").write_text(
        "from pooldaemon_example.settings import *\n"
        "DATABASES['default']['OPTIONS'] = {'pool': {'pool_sise': 3}}\n"
    )
    finished = subprocess.run(
        [sys.executable, "-m", "django", "check"],
        env={
            "DJANGO_SETTINGS_MODULE": "wrong",
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "PATH": os.environ["PATH"],
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert "['pool']['pool_sise']" in finished.stderr
    assert "Did you mean 'pool_size'?" in finished.stderr


# -- password_provider ------------------------------------------------------------------


def provider() -> str:
    raise AssertionError("the provider was called")


PROVIDED = {"pool": {"password_provider": provider}}


@pytest.mark.parametrize("pool", [{}, {"poolclass": "NullPool"}])
def test_a_password_provider_is_checked_without_calling_it(
    add_database: AddDatabase, pool: dict[str, Any]
) -> None:
    options = {"pool": {"password_provider": f"{__name__}.provider", **pool}}
    assert messages(add_database(ENGINE=MYSQL, NAME="unit", OPTIONS=options)) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"OPTIONS": {"pool": {"password_provider": "no.such.thing"}}},
            "['OPTIONS']['pool']['password_provider']: 'no.such.thing' can't be imported",
        ),
        ({"PASSWORD": "s3cret", "OPTIONS": PROVIDED}, "['PASSWORD'] is set, and so is "),
        (
            {"OPTIONS": {"password": "s3cret", **PROVIDED}},
            "['OPTIONS']['password'] is set, and so is ",
        ),
        ({"OPTIONS": {"passwd": "", **PROVIDED}}, "['OPTIONS']['passwd'] is set, and so is "),
        (
            {"OPTIONS": {"password_provider": provider, "pool": False}},
            "['OPTIONS']['password_provider'] must be inside ['OPTIONS']['pool']. To use one",
        ),
        (
            {"ENGINE": SQLITE, "OPTIONS": PROVIDED},
            "['OPTIONS']['pool']['password_provider'] is set, but SQLite has no passwords.",
        ),
    ],
    ids=["path", "PASSWORD", "password", "passwd", "outside the pool", "SQLite"],
)
def test_a_provider_that_can_not_be_used_is_error_e001(
    add_database: AddDatabase, settings: dict[str, Any], expected: str
) -> None:
    alias = add_database(**{"ENGINE": MYSQL, "NAME": "unit", **settings})
    (message,) = messages(alias)
    assert message.id == "pooldaemon.E001"
    assert message.msg.startswith(f"DATABASES['{alias}']{expected}")
    assert "s3cret" not in message.msg


@pytest.mark.parametrize("pool", [True, False])
def test_a_provider_for_all_databases_is_refused(
    add_database: AddDatabase, settings: Settings, pool: bool
) -> None:
    settings.MYSQLPOOL_ARGUMENTS = {"password_provider": provider}
    (message,) = messages(add_database(ENGINE=MYSQL, NAME="unit", OPTIONS={"pool": pool}))
    assert message.msg.startswith("MYSQLPOOL_ARGUMENTS['password_provider'] would apply to all")


# -- historic settings ------------------------------------------------------------------


def test_a_historic_setting_without_effect_is_warning_w001_once(
    add_database: AddDatabase, settings: Settings
) -> None:
    for _ in range(2):
        add_database(ENGINE=MYSQL, NAME="unit")
    settings.MYSQLPOOL_ARGUMENTS = {"use_threadlocal": True}
    (message,) = warnings_of_checks()
    assert isinstance(message, Warning)
    assert message.msg == (
        "MYSQLPOOL_ARGUMENTS['use_threadlocal'] has no effect: SQLAlchemy removed it in 1.4. "
        "Delete it."
    )
    assert "historic-settings" in (message.hint or "")


def test_historic_settings_are_defaults_for_mysql(
    add_database: AddDatabase, settings: Settings
) -> None:
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 3, "recycle": 60}
    alias = add_database(ENGINE=MYSQL, NAME="unit", OPTIONS={"pool": {"pool_size": 7}})
    config = connections[alias].check_pool_settings()  # type: ignore[attr-defined]
    assert config.poolclass.__name__ == "QueuePool"
    assert dict(config.arguments) == {"pool_size": 7, "recycle": 60}


def test_historic_settings_are_not_for_sqlite(
    add_database: AddDatabase, settings: Settings
) -> None:
    settings.MYSQLPOOL_BACKEND = "NullPool"
    alias = add_database(ENGINE=SQLITE, NAME="unit")
    config = connections[alias].check_pool_settings()  # type: ignore[attr-defined]
    assert config.poolclass.__name__ == "FairQueuePool"


def test_the_class_in_the_arguments_goes_before_the_backend(settings: Settings) -> None:
    settings.MYSQLPOOL_BACKEND = "NullPool"
    settings.MYSQLPOOL_ARGUMENTS = {"poolclass": "QueuePool"}
    given = ("MYSQLPOOL_ARGUMENTS['poolclass']", "QueuePool")
    assert historic_settings() == {"poolclass": given}


def test_without_historic_settings_there_are_none() -> None:
    assert historic_settings() == {}


def test_reading_historic_settings_does_not_change_them(settings: Settings) -> None:
    settings.MYSQLPOOL_ARGUMENTS = {"use_threadlocal": True, "timeout": 3}
    with pytest.warns(DeprecationWarning, match="use_threadlocal"):
        assert historic_settings() == {"timeout": ("MYSQLPOOL_ARGUMENTS['timeout']", 3)}
    assert settings.MYSQLPOOL_ARGUMENTS == {"use_threadlocal": True, "timeout": 3}


@pytest.mark.parametrize("wrong", ["pool_size=3", 5, None])
def test_historic_arguments_that_are_no_dict_are_refused(settings: Settings, wrong: Any) -> None:
    settings.MYSQLPOOL_ARGUMENTS = wrong
    with pytest.raises(ImproperlyConfigured, match=r"MYSQLPOOL_ARGUMENTS is .*must be a dict\."):
        historic_settings()


def test_a_wrong_historic_backend_is_named_by_its_own_setting(
    add_database: AddDatabase, settings: Settings
) -> None:
    settings.MYSQLPOOL_BACKEND = "QuePool"
    (message,) = messages(add_database(ENGINE=MYSQL, NAME="unit"))
    assert message.msg.startswith("MYSQLPOOL_BACKEND: there is no pool class 'QuePool'. Did you")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"MAX_POOL": 5}, "settings.POOLDAEMON['MAX_POOL'] is not a setting. Did you mean"),
        ({"MAX_POOLS": 0}, "settings.POOLDAEMON['MAX_POOLS'] is 0; it must be a whole number"),
        ({"MAX_PROCESS_CONNECTIONS": "9"}, "['MAX_PROCESS_CONNECTIONS'] is '9'; it must be"),
        ({"THREADS": 0}, "settings.POOLDAEMON['THREADS'] is 0; it must be a whole number"),
        (
            {"MAX_CONNECTIONS": {"x": 1}},
            "['MAX_CONNECTIONS'] names 'x', which is not in settings.DATABASES.",
        ),
        ({"PIDFILE": 5}, "settings.POOLDAEMON['PIDFILE'] is 5; it must be a string or a path."),
        ([], "settings.POOLDAEMON is []; it must be a dict."),
    ],
)
def test_wrong_settings_for_all_pools_and_daemons_are_error_e002(
    settings: Settings, given: Any, expected: str
) -> None:
    settings.POOLDAEMON = given
    (message,) = check_pooldaemon_settings()
    assert isinstance(message, Error)
    assert message.id == "pooldaemon.E002"
    assert expected in message.msg


def test_right_settings_for_all_pools_and_daemons_are_silent(settings: Settings) -> None:
    settings.POOLDAEMON = {"MAX_PROCESS_CONNECTIONS": None, "MAX_POOLS": 5, "TARGET": "shop.work"}
    assert check_pooldaemon_settings() == []

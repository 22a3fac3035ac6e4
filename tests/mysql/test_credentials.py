"""password_provider on a real server: rotation under load, and how few logins it refuses."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections, transaction

from pooldaemon import auto_close_db, close_pool
from pooldaemon.exceptions import ImproperlyConfigured, PasswordProviderError
from pooldaemon.pool.drivers import credentials
from tests.mysql.conftest import StartServer
from tests.mysql.scratch import Scratch, scratch_on
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.mysql.vault import Vault
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task

THREADS = 8
CAP = 4
ROTATIONS = 5


@pytest.fixture
def own_account(scratch: Scratch) -> Iterator[Scratch]:
    """An account whose password the test may change. MySQL locks it after two wrong ones."""
    account = scratch.account
    url = f"mysql://x:x@{account.host}:{account.port}/x"
    mariadb = "MariaDB" in scratch.admin.query("SELECT VERSION() AS v")[0]["v"]
    limits = "" if mariadb else "FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME 1"
    with scratch_on(scratch.admin, url, limits) as own:
        own.admin.query(f"CREATE TABLE {own.account.name}.t (n INT) ENGINE=InnoDB")
        yield own


@pytest.fixture
def vault(own_account: Scratch) -> Vault:
    return Vault(own_account)


# -- rotation ---------------------------------------------------------------------------


class Load:
    """Threads that write two rows per unit.

    :param reconnect: each time on a new session.
    """

    def __init__(self, alias: str, reconnect: bool) -> None:
        self._alias = alias
        self._reconnect = reconnect
        self._stop = threading.Event()
        self.units = 0
        self._lock = threading.Lock()
        self._tasks = [Task(self._work) for _ in range(THREADS)]

    @auto_close_db
    def _unit(self) -> None:
        with transaction.atomic(using=self._alias):
            run(self._alias, "INSERT INTO t VALUES (1)")
            run(self._alias, "INSERT INTO t VALUES (2)")
        if self._reconnect:
            connections[self._alias].connection.close()
        with self._lock:
            self.units += 1

    def _work(self) -> None:
        while not self._stop.is_set():
            self._unit()

    def wait_for_units(self, more: int) -> None:
        wanted = self.units + more
        wait_until(lambda: self.units >= wanted or self._failed(), DEADLINE, "it stands still")

    def _failed(self) -> bool:
        return any(task.error for task in self._tasks)

    def end(self) -> int:
        """Stop; how many units there were. Raises what one has raised."""
        self._stop.set()
        for task in self._tasks:
            task.result()
        return self.units


def rotate_under_load(alias: str, vault: Vault, times: int, *, reconnect: bool = False) -> int:
    load = Load(alias, reconnect)
    for _ in range(times):
        load.wait_for_units(3 * THREADS)
        vault.rotate()
        load.wait_for_units(THREADS)  # on sessions that were open
        close_pool(alias)
    load.wait_for_units(3 * THREADS)
    return load.end()


@pytest.mark.parametrize("lifetime", [None, 900], ids=["asked each time", "kept"])
def test_a_rotation_under_load_fails_no_unit_and_locks_no_account(
    add_database: AddDatabase, vault: Vault, lifetime: float | None
) -> None:
    # MySQL locks the account if two logins in a row are refused.
    vault.lifetime = lifetime
    alias = add_database(**vault.settings(pool_size=CAP, timeout=20))
    units = rotate_under_load(alias, vault, ROTATIONS)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 2 * units
    assert stats(alias).connects > CAP
    assert stats(alias).connect_errors == 0


@pytest.mark.parametrize(
    ("lifetime", "reconnect", "most"),
    [(None, False, ROTATIONS), (900, False, ROTATIONS), (900, True, ROTATIONS * CAP)],
    ids=["asked each time", "kept", "kept, and all log in all the time"],
)
@pytest.mark.alone  # on a busy machine a login takes more than FIRST_LOGIN, and others begin
def test_a_rotation_costs_the_server_one_refused_login_or_those_under_way(
    start_server: StartServer,
    add_database: AddDatabase,
    lifetime: float | None,
    reconnect: bool,
    most: int,
) -> None:
    server = start_server()
    with scratch_on(server.admin, server.url) as scratch:
        scratch.admin.query(f"CREATE TABLE {scratch.account.name}.t (n INT) ENGINE=InnoDB")
        vault = Vault(scratch, lifetime)
        alias = add_database(**vault.settings(pool_size=CAP, timeout=20))
        # Not Access_denied_errors, in which MariaDB 11.8 counts reads of the functions, too.
        before = server.admin.status("Aborted_connects")
        rotate_under_load(alias, vault, ROTATIONS, reconnect=reconnect)
        refused = server.admin.status("Aborted_connects") - before
        assert refused <= most
        assert refused >= ROTATIONS or lifetime is None, "the test shows nothing"
        assert stats(alias).connect_errors == 0
        close_pool(alias)


def test_a_unit_goes_on_through_a_rotation(add_database: AddDatabase, vault: Vault) -> None:
    alias = add_database(**vault.settings(pool_size=2))
    with transaction.atomic(using=alias):
        run(alias, "INSERT INTO t VALUES (1)")
        vault.rotate()
        run(alias, "INSERT INTO t VALUES (2)")
        assert Task(auto_close_db(session_id), alias).result() != session_id(alias)
    assert fetch(alias, "SELECT COUNT(*) FROM t") == 2


def test_a_token_at_its_end_is_renewed_before_it_is_refused(
    add_database: AddDatabase, vault: Vault
) -> None:
    vault.lifetime = 1.0
    alias = add_database(**vault.settings(pool_size=1))

    @auto_close_db
    def reconnect() -> int:
        close_pool(alias)
        session_id(alias)
        return vault.calls

    assert reconnect() == 1
    wait_until(lambda: reconnect() == 2, DEADLINE, "it is kept for ever")
    assert stats(alias).connects > 2, "it is not kept"


@pytest.mark.parametrize("poolclass", ["QueuePool", "NullPool", "SingletonThreadPool"])
def test_sqlalchemys_own_pools_log_in_in_the_same_way(
    add_database: AddDatabase, vault: Vault, poolclass: str
) -> None:
    vault.lifetime = 900
    alias = add_database(**vault.settings(poolclass=poolclass))
    session_id(alias)
    close_pool(alias)
    vault.rotate()
    assert session_id(alias)
    assert vault.calls == 2


# -- refused ----------------------------------------------------------------------------


def test_a_wrong_password_is_tried_once_and_when_it_is_right_again_all_is_well(
    add_database: AddDatabase, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On MySQL the second try would lock the account.
    monkeypatch.setattr(credentials, "FIRST_DELAY", 0.5)
    alias = add_database(**vault.settings(pool_size=4, timeout=20))
    right, vault.password = vault.password, "wrong-for-these-tests"

    def errors() -> list[OperationalError]:
        caught = []
        for _ in range(5):
            with pytest.raises(OperationalError) as error:
                session_id(alias)
            caught.append(error.value)
        return caught

    for task in [Task(errors) for _ in range(THREADS)]:
        for error in task.result():
            assert error.args[0] == 1045
            assert "Access denied" in error.args[1]
            assert "password of the provider tests.mysql.vault.Vault; no further login" in str(
                error
            )
            assert vault.password not in str(error)
    assert vault.calls == 2
    vault.password = right

    def heals() -> Any:
        try:
            return session_id(alias)
        except OperationalError:
            return None

    wait_until(heals, DEADLINE, "it never tries again")


# -- bad providers ----------------------------------------------------------------------


def test_a_provider_that_hangs_costs_only_those_who_need_a_new_session(
    add_database: AddDatabase, vault: Vault
) -> None:
    alias = add_database(**vault.settings(pool_size=2, timeout=1))
    number = Task(auto_close_db(session_id), alias).result()
    leave = threading.Event()
    vault.before_answer = lambda: leave.wait(DEADLINE)
    hold, held = threading.Event(), threading.Event()

    @auto_close_db
    def borrow_the_idle_one() -> None:
        for _ in range(2):
            assert session_id(alias) == number
            held.set()
            hold.wait(DEADLINE)
            return_connection(alias)

    other = Task(borrow_the_idle_one)
    held.wait(DEADLINE)
    with pytest.raises(PasswordProviderError, match=r"Vault has not answered within 1\.0 s"):
        session_id(alias)
    hold.set()
    other.result()
    assert stats(alias).total == 1
    leave.set()
    wait_until(lambda: fetch(alias, "SELECT 7") == 7, DEADLINE, "it does not heal")


def test_a_provider_that_fails_frees_its_slot(add_database: AddDatabase, vault: Vault) -> None:
    alias = add_database(**vault.settings(pool_size=1, timeout=0))
    right, vault.password = vault.password, ""
    for _ in range(3):
        with pytest.raises(PasswordProviderError, match="returned an empty password"):
            session_id(alias)
    vault.password = right
    assert session_id(alias)


# -- outside a pool ---------------------------------------------------------------------


def test_a_connection_without_a_database_uses_the_provider(
    add_database: AddDatabase, vault: Vault
) -> None:
    alias = add_database(**vault.settings())
    vault.rotate()
    with connections[alias]._nodb_cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchone()[0].startswith(vault.scratch.account.user)
    assert vault.calls == 1


@pytest.mark.skipif(not shutil.which("mysql"), reason="needs the client program mysql")
def test_dbshell_logs_in(
    add_database: AddDatabase, vault: Vault, capfd: pytest.CaptureFixture[str]
) -> None:
    alias = add_database(**vault.settings())
    vault.rotate()
    call_command("dbshell", "--database", alias, "--", "-N", "-e", "SELECT 'shell', DATABASE()")
    assert capfd.readouterr().out.split() == ["shell", vault.scratch.account.name]
    assert connections[alias].settings_dict["PASSWORD"] == ""


def test_dbshell_reports_a_bad_provider_in_one_line(
    add_database: AddDatabase, vault: Vault
) -> None:
    vault.password = ""
    alias = add_database(**vault.settings())
    with pytest.raises(CommandError, match=r"Vault returned an empty password; it must return"):
        call_command("dbshell", "--database", alias)


def test_dbshell_with_wrong_settings_asks_nobody(add_database: AddDatabase, vault: Vault) -> None:
    alias = add_database(**{**vault.settings(), "PASSWORD": "beside"})
    with pytest.raises(ImproperlyConfigured, match=r"Remove \['PASSWORD'\]"):
        call_command("dbshell", "--database", alias)
    assert vault.calls == 0


# -- secrets and forks ------------------------------------------------------------------


def test_a_password_shows_nowhere(
    add_database: AddDatabase, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    vault.lifetime = 900
    alias = add_database(**vault.settings(pool_size=1, timeout=0))
    session_id(alias)
    wrapper: Any = connections[alias]
    with pytest.raises(OperationalError) as full:
        Task(session_id, alias).result()
    shown = [
        *(repr(one) for one in (wrapper.pool, wrapper.pool.config, wrapper.connection)),
        *(str(one) for one in (stats(alias), full.value, wrapper.settings_dict)),
        *(repr(vars(one)) for one in (wrapper.pool.dialect, wrapper.pool.dialect._credentials)),
        caplog.text,
    ]
    assert not [text for text in shown if vault.password in text]


FORK = """
import json, os, sys
import django
from django.conf import settings

account, calls = json.loads(sys.argv[1]), []

def provider():
    calls.append(os.getpid())
    return account["PASSWORD"], 900

settings.configure(DATABASES={"default": {
    **account, "PASSWORD": "", "OPTIONS": {"pool": {"password_provider": provider}}
}})
django.setup()
from django.db import connection

def reconnect():
    connection.pool.close()
    connection.close()
    connection.ensure_connection()
    connection.close()

reconnect()
reconnect()
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    reconnect()
    print(calls == [os.getpid()])
else:
    reconnect()
    reconnect()
    os._exit(calls != [os.getppid(), os.getpid()])
"""


def test_a_forked_child_asks_for_itself(scratch: Scratch) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", FORK, json.dumps(scratch.account.settings())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (finished.returncode, finished.stdout) == (0, "True\n"), finished.stderr

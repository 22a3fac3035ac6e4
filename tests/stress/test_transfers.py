"""Money is moved while the network, the server and its disk fail: nothing is lost, and it goes on.

For each mode, with and without ``read_timeout``, there is a pool of 4 for 32 threads; all of them
meet the same faults. On MySQL the server of DATABASE_URL is not stopped, killed or filled, since
others may use it. TRANSFER_MYSQLD runs one of the test's own: it is the command, to which options
are added, such as "mysqld --no-defaults". TRANSFER_SECONDS is how long a fault lasts,
TRANSFER_ROUNDS how often each is made, TRANSFER_FAULTS those to be made, with commas between.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from pooldaemon.connections import close_pool
from pooldaemon.pool.drivers.mysql.dialect import PING_TIMEOUT, RESET_TIMEOUT
from pooldaemon.pool.drivers.mysql.keepalive import SILENCE_LIMIT
from pooldaemon.pool.drivers.mysql.setup_timeout import CONNECT_TIMEOUT, SETUP_TIMEOUT
from tests.mysql.scratch import Account
from tests.stress.bank import Attempt, Bank, found
from tests.stress.faults import Fault, Faults, own_disk
from tests.support.mysql_server import MySQLServer
from tests.support.namespace import NoNamespaceError, new_namespace
from tests.support.poll import wait_until
from tests.support.relay import relay_to
from tests.support.server import Admin, Server
from tests.unit.databases import AddDatabase, own_databases

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0)]

SECONDS = float(os.environ.get("TRANSFER_SECONDS", "1"))
ROUNDS = int(os.environ.get("TRANSFER_ROUNDS", "1"))
CHOSEN = os.environ.get("TRANSFER_FAULTS", "")
MYSQLD = os.environ.get("TRANSFER_MYSQLD", "")

POOL_SIZE = 4
READ_TIMEOUT = 3
THREADS = 32
BOUND = (
    30  # the queue
    + PING_TIMEOUT + CONNECT_TIMEOUT + 2 * SETUP_TIMEOUT
    + 2 * SILENCE_LIMIT  # a statement, and the rollback after it
    + RESET_TIMEOUT
)  # fmt: skip
"""Seconds, all together: see "A server that does not answer" in the documentation."""
RECOVERY = 2.0  # seconds after the end of a fault
ALL_BACK = 5.0
DEADLINE = 60.0
NOTE = "x" * 15_000  # a page of its own

COMBINATIONS: dict[str, tuple[dict[str, Any], str]] = {
    f"{mode} mode, {f'read_timeout {READ_TIMEOUT}' if options else 'no read_timeout'}": (
        options,
        mode,
    )
    for mode in ("session", "transaction")
    for options in ({}, {"read_timeout": READ_TIMEOUT})
}


class Place:
    """A server, its account, and a network between it and the pools.

    :ivar server: one of the test's own; ``None``: that of DATABASE_URL.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.server: Server | None = None
        disk = None
        url = os.environ["DATABASE_URL"]
        with Admin(url) as admin:
            is_mariadb = "MariaDB" in admin.query("SELECT VERSION() AS v")[0]["v"]
        if is_mariadb or MYSQLD:
            self.server = Server() if is_mariadb else MySQLServer(MYSQLD)
            stack.callback(self.server.close)
            disk = stack.enter_context(own_disk(self.server.home))
            self.server.start()
            url = self.server.url
        else:
            self._shared = stack.enter_context(Admin(url))
        host, port = Account.from_url(url).host, Account.from_url(url).port
        try:
            namespace = stack.enter_context(new_namespace())
        except NoNamespaceError as reason:
            logger.warning("Packets are held back, not dropped: %s", reason)
            namespace = None
        listener = None if namespace is None else namespace.listen()
        relay = stack.enter_context(relay_to(host, port, listener))
        name = f"pd{os.getpid()}{secrets.token_hex(3)}"
        way = "127.0.0.1" if namespace is None else namespace.guest
        self.account = Account(name, secrets.token_hex(8), way, relay.port, name)
        self.admin().query(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", [self.account.password])
        stack.callback(self._remove)
        self.names: list[str] = []
        self.faults = Faults(name, self.names, self.admin, relay, namespace, self.server, disk)

    def admin(self) -> Admin:
        return self._shared if self.server is None else self.server.admin

    def make_database(self) -> str:
        name = f"{self.account.name}x{len(self.names)}"
        self.admin().query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self.admin().query(f"GRANT ALL ON {name}.* TO {self.account.user}@'%'")
        self.names.append(name)
        found(self.admin(), name)
        return name

    def has_sessions(self) -> bool:
        return any(one.user == self.account.user for one in self.admin().processlist())

    def _remove(self) -> None:
        for name in self.names:
            self.admin().query(f"DROP DATABASE {name}")
        self.admin().query(f"DROP USER {self.account.user}@'%'")


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


@pytest.fixture
def add_database(django_db_blocker: DjangoDbBlocker, place: Place) -> Iterator[AddDatabase]:
    with django_db_blocker.unblock(), own_databases() as add:
        yield add


def make_faults(faults: Faults, banks: dict[str, Bank], made: list[Fault]) -> None:
    """Each kind after the other, and again; *made* gets each."""
    kinds = [one for one in faults.kinds() if not CHOSEN or one[0].__name__ in CHOSEN.split(",")]
    for kind, codes in kinds * ROUNDS:
        began = time.monotonic()
        kind(SECONDS)
        ended = time.monotonic()
        made.append(Fault(kind.__name__, codes, began, ended))
        for name, bank in banks.items():
            wait_until(
                lambda bank=bank, ended=ended: bank.first_success(ended) and bank.is_back(ended),
                DEADLINE,
                f"threads that are not back after {kind.__name__}: {name}",
            )


def unexplained(bank: Bank, faults: list[Fault]) -> list[Attempt]:
    def explains(fault: Fault, attempt: Attempt) -> bool:
        meets = attempt.started <= fault.ended + RECOVERY and fault.began <= attempt.ended
        return meets and attempt.code in fault.codes

    return [one for one in bank.attempts if one.error and not any(explains(f, one) for f in faults)]


def test_no_transfer_is_lost_and_each_fault_is_overcome_in_time(
    place: Place, add_database: AddDatabase
) -> None:
    banks: dict[str, Bank] = {}
    names: dict[str, str] = {}
    for title, (driver, mode) in COMBINATIONS.items():
        name = names[title] = place.make_database()
        options = {**driver, "pool": {"pool_size": POOL_SIZE, "mode": mode}}
        alias = add_database(**place.account.settings(NAME=name, OPTIONS=options))
        banks[title] = Bank(alias, THREADS, note=lambda: NOTE if place.faults.fills_disk else "")
    for bank in banks.values():
        bank.open()
    faults: list[Fault] = []
    try:
        for bank in banks.values():
            wait_until(lambda bank=bank: bank.transfers >= THREADS, DEADLINE, "a start")
        make_faults(place.faults, banks, faults)
    finally:
        for bank in banks.values():
            bank.close(DEADLINE)
        log_results(faults, banks)
    close_pool()
    wait_until(lambda: not place.has_sessions(), DEADLINE, "sessions are left")
    for title, bank in banks.items():
        bank.audit(place.admin(), names[title])
        assert [str(one) for one in unexplained(bank, faults)] == [], title
        for fault, until in zip(faults, ends(faults), strict=True):
            where = f"{fault.name}, {title}"
            first = bank.first_success(fault.ended)
            assert first is not None, where
            assert first - fault.ended <= RECOVERY, where
            assert bank.failures(fault.began, until)[2006] <= POOL_SIZE, where
            back = bank.back(fault.began, fault.ended)
            assert max(one.seconds for one in back) <= BOUND, where
            assert max(one.ended for one in back) - fault.ended <= ALL_BACK, where


def ends(faults: list[Fault]) -> list[float]:
    """Until when an error counts for a fault: the next one's beginning."""
    return [*(fault.began for fault in faults[1:]), float("inf")]


def log_results(faults: list[Fault], banks: dict[str, Bank]) -> None:
    for title, bank in banks.items():
        logger.info("%s: %d transfers", title, bank.transfers)
        for fault, until in zip(faults, ends(faults), strict=True):
            back = bank.back(fault.began, fault.ended)
            logger.info(
                "  %-20s %5.1f s; first success after %.2f s, all back after %.2f s; "
                "longest wait %.1f s; errors %s",
                fault.name,
                fault.ended - fault.began,
                (bank.first_success(fault.ended) or float("inf")) - fault.ended,
                max((one.ended for one in back), default=float("inf")) - fault.ended,
                max((one.seconds for one in back), default=float("inf")),
                dict(bank.failures(fault.began, until)),
            )

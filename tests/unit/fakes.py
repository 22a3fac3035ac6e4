"""A DB-API driver without a server, and pools over it."""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from pooldaemon.pool.config import read_pool_config
from pooldaemon.pool.drivers.base import DriverDialect
from pooldaemon.pool.drivers.mysql.sql.classify import shape
from pooldaemon.pool.queue import lease
from pooldaemon.pool.queue.lease import Lease
from pooldaemon.pool.queue.limiter import ConnectionLimiter
from pooldaemon.pool.registry import ManagedPool
from pooldaemon.stats import PoolStats
from tests.support.poll import wait_until

DEADLINE = 30.0  # seconds; nothing here takes a hundredth of it


class ClosedError(Exception):
    """What a connection raises after it was returned."""


class ConnectError(Exception):
    """The driver could not connect."""


class FakeConnection:
    def __init__(self, driver: "FakeDriver", number: int) -> None:
        self.driver = driver
        self.number = number
        self.alive = True
        self.broken = False
        self.resets = 0
        self.last_used = 0.0

    def close(self) -> None:
        self.driver.close(self)


class FakeDriver:
    """Counts what a server would count. `before_connect` may block or raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.connects = 0
        self._open: weakref.WeakSet[FakeConnection] = weakref.WeakSet()
        self.most_open = 0
        self.before_connect: Callable[[], None] = lambda: None
        self.before_reset: Callable[[], None] = lambda: None
        self.before_look: Callable[[], None] = lambda: None

    def connect(self) -> FakeConnection:
        self.before_connect()
        with self._lock:
            self.connects += 1
            connection = FakeConnection(self, self.connects)
            self._open.add(connection)
            self.most_open = max(self.most_open, len(self._open))
        return connection

    @property
    def open(self) -> set[FakeConnection]:
        """Those that are neither closed nor freed, which closes the socket of a real one."""
        return set(self._open)

    def close(self, connection: FakeConnection) -> None:
        with self._lock:
            self._open.discard(connection)


class FakeHandle(Lease):
    __slots__ = ()
    _error_class = ClosedError


class FakeDialect(DriverDialect):
    lease_class = FakeHandle

    def __init__(self, driver: FakeDriver) -> None:
        super().__init__(driver.connect)
        self.driver = driver

    def is_alive(self, connection: Any, idle: float) -> bool:
        self.driver.before_look()
        alive: bool = connection.alive
        return alive

    def last_statement(self, connection: Any) -> str:
        return shape(getattr(connection, "last_statement", b""))

    def reset(self, connection: Any) -> bool:
        self.driver.before_reset()
        connection.resets += 1
        return True


class Pool:
    """The pool under test; all that these tests ask of it goes through here."""

    def __init__(
        self,
        name: str = "fake app@host/db",
        *,
        driver: FakeDriver | None = None,
        limiter: ConnectionLimiter | None = None,
        **options: Any,
    ) -> None:
        self.driver = driver or FakeDriver()
        config = read_pool_config("default", options)
        assert config is not None
        self.managed = ManagedPool(name, config, FakeDialect(self.driver), limiter)

    def borrow(self) -> Any:
        return self.managed.borrow()

    def close(self) -> None:
        self.managed.close()

    def stats(self) -> PoolStats:
        return self.managed.stats()

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        connection = self.borrow()
        try:
            yield connection
        finally:
            give_back(connection)

    def wait_for_waiters(self, number: int) -> None:
        wait_until(lambda: self.stats().waiting == number, DEADLINE, f"no {number} waiters")


def give_back(connection: Any) -> None:
    lease.return_connection(connection)


class Task(threading.Thread):
    """A thread whose result or error the test can ask for. It keeps no connection of Django's."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._args = args
        self._value: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._function(*self._args)
        except BaseException as error:  # noqa: BLE001  # result() raises it
            self.error = error
        finally:
            connections.close_all()

    def result(self) -> Any:
        self.join(DEADLINE)
        assert not self.is_alive(), "the thread hangs"
        if self.error is not None:
            raise self.error
        return self._value

"""The example's daemon on a server, and a receiver that counts every attempt."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from django.db import connections

from pooldaemon import auto_close_db
from pooldaemon.testing import processes
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.receiver import Behaviour, Handler, Receiver
from pooldaemon_example.webhooks.signing import ATTEMPT_HEADER
from tests.lifecycle.daemon import Daemon
from tests.lifecycle.databases import MySQLDatabase
from tests.mysql.scratch import Account
from tests.support.server import Admin
from tests.unit.databases import AddDatabase

SECRET = "a secret of the tests"
LEASE = 6.0
"""Seconds. A worker whose unit hangs has to be dead before."""
WEBHOOK = {
    "WEBHOOK_SIGNING_SECRET": SECRET,
    "WEBHOOK_CONNECT_TIMEOUT": "0.5",
    "WEBHOOK_READ_TIMEOUT": "4",
    "WEBHOOK_LEASE": str(LEASE),
    "WEBHOOK_RETRY_BASE": "0.1",
    "WEBHOOK_RETRY_CAP": "1",
    "WEBHOOK_MAX_ATTEMPTS": "1000",
}
PATIENT = {
    "WEBHOOK_CONNECT_TIMEOUT": "20",
    "WEBHOOK_READ_TIMEOUT": "40",
    "WEBHOOK_LEASE": "90",
}
"""Where nothing is killed: then only a busy machine would cause a second attempt."""


class AttemptHandler(Handler):
    def status_for(self, delivery_id: str) -> int:
        receiver: Any = self.server
        with receiver.ledger.lock:
            receiver.attempts[int(delivery_id)].append(int(self.headers[ATTEMPT_HEADER]))
        return super().status_for(delivery_id)


class AttemptReceiver(Receiver):
    """:ivar attempts: those that came, in their order, of each delivery."""

    def __init__(self, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Behaviour(SECRET, latency=latency))
        self.RequestHandlerClass = AttemptHandler
        self.attempts: dict[int, list[int]] = defaultdict(list)

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self.serve_forever, args=[0.05])
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class Deliveries:
    """The example's table in a database of its own, on a server that may be restarted.

    :param admin: as for :class:`MySQLDatabase`.
    """

    def __init__(self, url: str, admin: Callable[[], Admin], add_database: AddDatabase) -> None:
        self.database = MySQLDatabase(url, admin)
        # Not the daemon's account: its sessions are counted.
        self._alias = add_database(**Account.from_url(url).settings(NAME=self.database.name))
        with connections[self._alias].schema_editor() as editor:
            editor.create_model(Delivery)
        self._rows = Delivery.objects.using(self._alias)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.database.remove()

    @auto_close_db
    def fill(self, number: int, url: str) -> None:
        """Have so many pending."""
        missing = range(number - self.pending())
        self._rows.bulk_create([Delivery(url=f"{url}/{n}", payload={"n": n}) for n in missing])

    @auto_close_db
    def pending(self) -> int:
        return self._rows.filter(status=Delivery.Status.PENDING).count()

    @auto_close_db
    def delivered(self) -> set[int]:
        return set(self._rows.filter(status=Delivery.Status.DELIVERED).values_list("id", flat=True))

    @auto_close_db
    def all(self) -> set[int]:
        return set(self._rows.values_list("id", flat=True))


class DeliveryDaemon(Daemon):
    """A command of the example project.

    :cvar webhook: environment variables beside :data:`WEBHOOK`.
    """

    webhook: Mapping[str, str] = {}

    def _environment(self) -> dict[str, str]:
        settings = self.database.settings
        account = Account(
            settings["USER"],
            settings["PASSWORD"],
            settings["HOST"],
            int(settings["PORT"]),
            settings["NAME"],
        )
        return {
            **super()._environment(),
            **WEBHOOK,
            **self.webhook,
            "DJANGO_SETTINGS_MODULE": "pooldaemon_example.settings",
            "DATABASE_URL": account.url,
        }

    def started_workers(self) -> set[int]:
        """All that its log names, dead or alive: its other children are helpers."""
        return {int(pid) for pid in re.findall(r"worker-\d+: started as pid (\d+)", self.err)}

    def broken_workers(self) -> set[int]:
        """Those that, as its log says, a signal has ended, the supervisor's included."""
        ends = r"\(pid (\d+)\)(?: was ended by SIG|: .* killed in the middle of its work)"
        return {int(pid) for pid in re.findall(ends, self.err)}

    def living_workers(self) -> list[int]:
        return sorted(filter(processes.is_alive, self.started_workers()))


@dataclass
class Attempt:
    """What the daemon noted of one.

    :ivar cut_off: its thread has noted nothing more.
    :ivar failed: when recording it failed, if it did.
    """

    pid: int
    began: float
    cut_off: bool = True
    recorded: bool = False
    failed: float | None = None


def noted_attempts(daemon: DeliveryDaemon) -> dict[tuple[int, int], Attempt]:
    """By delivery and number."""
    attempts: dict[tuple[int, int], Attempt] = {}
    last: dict[tuple[int, str], Attempt] = {}
    for event in daemon.journal.events("posting"):
        thread = event["pid"], event["thread"]
        if thread in last:
            last[thread].cut_off = False
        last[thread] = Attempt(event["pid"], event["time"])
        attempts[event["delivery"], event["attempt"]] = last[thread]
    for kind in ("recorded", "not recorded"):
        for event in daemon.journal.events(kind):
            attempt = attempts[event["delivery"], event["attempt"]]
            attempt.recorded = kind == "recorded"
            attempt.failed = None if attempt.recorded else event["time"]
    return attempts

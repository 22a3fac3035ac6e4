"""What is exported agrees with the server's own list of sessions, and holds no secret."""

from collections import Counter
from collections.abc import Iterator

import pytest
from django.db import connections
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from pooldaemon import auto_close_db
from pooldaemon.metrics.opentelemetry import instrument
from pooldaemon.metrics.prometheus import register
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch
from tests.support.poll import wait_until
from tests.support.scrape import Scrape
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task

pytestmark = pytest.mark.mysql

States = dict[str, int]


@auto_close_db
def wait_for_lock(alias: str, name: str) -> None:
    """Use a connection until the test lets go; the reset releases the lock."""
    fetch(alias, "SELECT GET_LOCK(%s, 20)", [name])


class Exports:
    """Both ways out of this process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        register(self._registry)
        self._reader = InMemoryMetricReader()
        instrument(MeterProvider([self._reader], shutdown_on_exit=False))

    def scrape(self) -> Scrape:
        return Scrape(generate_latest(self._registry).decode())

    def prometheus(self) -> States:
        metrics = self.scrape()
        states = {
            state: int(metrics("pooldaemon_pool_connections", state=state))
            for state in ("used", "idle")
        }
        assert metrics("pooldaemon_pool_sessions") == sum(states.values())
        return states

    def opentelemetry(self) -> States:
        data = self._reader.get_metrics_data()
        assert data is not None
        return {
            point.attributes["db.client.connection.state"]: point.value
            for scope in data.resource_metrics[0].scope_metrics
            for metric in scope.metrics
            if metric.name == "db.client.connection.count"
            for point in metric.data.data_points
        }

    def text(self) -> str:
        data = self._reader.get_metrics_data()
        assert data is not None
        return data.to_json() + self.scrape().text


@pytest.fixture
def locked(scratch: Scratch) -> Iterator[str]:
    name = f"{scratch.account.name}-metrics"
    scratch.admin.query("SELECT GET_LOCK(%s, 0)", [name])
    yield name
    scratch.admin.query("SELECT RELEASE_LOCK(%s)", [name])


def on_server(scratch: Scratch) -> States:
    """By what the server says that each session does."""
    seen = Counter("idle" if one.command == "Sleep" else "used" for one in scratch.sessions())
    return {"used": seen["used"], "idle": seen["idle"]}


def test_connections_are_those_of_the_processlist(
    add_pooled: AddDatabase, scratch: Scratch, locked: str
) -> None:
    alias, exports = add_pooled(pool_size=4, timeout=DEADLINE), Exports()

    def all_say(used: int, idle: int) -> None:
        states = {"used": used, "idle": idle}
        wait_until(lambda: on_server(scratch) == states, DEADLINE, f"the server has no {states}")
        assert exports.prometheus() == exports.opentelemetry() == states

    first = [Task(wait_for_lock, alias, locked) for _ in range(2)]
    all_say(used=2, idle=0)
    second = [Task(wait_for_lock, alias, locked) for _ in range(2)]
    all_say(used=4, idle=0)
    late = Task(wait_for_lock, alias, locked)
    wait_until(
        lambda: exports.scrape()("pooldaemon_pool_waiting_threads") == 1, DEADLINE, "nobody waits"
    )
    assert exports.prometheus() == on_server(scratch) == {"used": 4, "idle": 0}
    scratch.admin.query("SELECT RELEASE_LOCK(%s)", [locked])
    for task in (*first, *second, late):
        task.result()
    all_say(used=0, idle=4)


def test_no_secret_is_exported(add_pooled: AddDatabase, scratch: Scratch) -> None:
    alias = add_pooled()
    exports = Exports()
    fetch(alias, "SELECT 1")
    text = exports.text()
    assert scratch.account.name in text
    assert scratch.account.password not in text
    connections[alias].close()

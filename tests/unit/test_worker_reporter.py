"""A worker's reports of its pools and units, and its commands: both ends of both pipes."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

import pytest

from pooldaemon.stats import Histogram, Holder, PoolStats
from pooldaemon.workers.ipc.channel import MAX_MESSAGE, Links, Receiver, Sender
from pooldaemon.workers.supervisor.handle import WorkerHandle
from pooldaemon.workers.worker import commands, reporter
from pooldaemon.workers.worker.commands import CommandListener
from pooldaemon.workers.worker.reporter import MAX_HOLDERS, MAX_PLACE, MAX_POOLS, Reporter
from tests.support.poll import wait_until
from tests.unit.fakes import Task

DEADLINE = 30.0

HOLDER = Holder("worker-1/thread-1", 1.25, "/srv/shop/views.py:31 in checkout", 7)
POOL = PoolStats(
    name="mysql app@host/shop",
    poolclass="FairQueuePool",
    cap=4,
    total=3,
    peak=3,
    connects=3,
    in_use=2,
    idle=1,
    holders=(HOLDER,),
    discards={"dead": 1},
    wait=Histogram((5, *[0] * 9), 0.1),
    aliases=("default", "replica"),
)


class Wire:
    """A handle on no process, and the worker's ends."""

    def __init__(self, stack: ExitStack) -> None:
        read_end, write_end = os.pipe()
        commands, commands_end = os.pipe()
        self.links = Links(Sender(write_end), Receiver(commands), parent_death_pipe=-1)
        self.handle = WorkerHandle("worker-1", 0, Receiver(read_end), 0.0, {}, Sender(commands_end))
        self.done: list[Any] = []
        for close in (self.links.sender.close, self.links.commands.close):
            stack.callback(close)
        self.close = stack.enter_context(_Closing(self.handle)).close

    def describe(self) -> dict[str, Any]:
        self.handle.read_messages(0.0)
        return self.handle.view.describe(self.handle.progress)


class _Closing:
    def __init__(self, handle: WorkerHandle) -> None:
        self._handle: WorkerHandle | None = handle

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close_descriptors()
            self._handle = None

    def __enter__(self) -> "_Closing":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(stack)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[PoolStats]:
    found = [POOL]
    monkeypatch.setattr(reporter, "pool_stats", lambda: tuple(found))
    return found


def test_pools_and_units_arrive_as_status_shows_them(wire: Wire, pools: list[PoolStats]) -> None:
    wire.links.sender.send("progress", thread="worker-1/thread-1", done=5, total=10)
    Reporter(wire.links.sender).report({"worker-1/thread-1": 0.0, "worker-1/thread-2": 0.0})
    status = wire.describe()
    (pool,) = status["pools"]
    numbers = {field.name: getattr(POOL, field.name) for field in fields(POOL)}
    del numbers["aliases"]
    assert pool.keys() == numbers.keys() | {"alias"}
    assert (pool["alias"], pool["discards"]) == ("default", {"dead": 1})
    simple = {name: value for name, value in numbers.items() if isinstance(value, (int, str))}
    assert pool | simple == pool
    assert pool["wait"] == {"counts": [5, *[0] * 9], "total": 0.1}
    (holder,) = pool["holders"]
    assert holder == {"thread": HOLDER.thread, "seconds": 1.25, "place": HOLDER.place}
    first, second = status["running"]
    assert (first["thread"], first["done"], first["total"]) == ("worker-1/thread-1", 5, 10)
    assert (second["done"], second["total"]) == (None, None)
    assert second["seconds"] > 0


def test_a_round_is_seen_once_all_of_it_has_come(wire: Wire, pools: list[PoolStats]) -> None:
    reports = Reporter(wire.links.sender)
    reports.report({})
    assert len(wire.describe()["pools"]) == 1
    wire.links.sender.send("pool", round=2, pool={"name": "of a round that lost its end"})
    wire.links.sender.send("pool", round=3, pool={"name": "of the next round"})
    wire.links.sender.send("units", round=3, units=[("worker-1/thread-1", 1.0)])
    assert [pool["name"] for pool in wire.describe()["pools"]] == [POOL.name]
    assert wire.describe()["running"] == []
    wire.links.sender.send("report_end", round=3)
    assert [pool["name"] for pool in wire.describe()["pools"]] == ["of the next round"]


def test_a_worker_that_looks_often_reports_once_a_second(
    wire: Wire, pools: list[PoolStats]
) -> None:
    reports = Reporter(wire.links.sender)
    for _ in range(10):
        reports.report_if_due({})
    assert [message["kind"] for message in wire.handle.receiver.receive()] == ["pool", "report_end"]


@pytest.mark.parametrize("letter", ["x", "\u5b57", "\U0001f300", '"', "\x01"])
def test_what_is_long_is_cut_until_it_fits_into_a_message(
    wire: Wire, pools: list[PoolStats], letter: str
) -> None:
    long = letter * 10_000
    pools[0] = PoolStats(
        name=long,
        poolclass="FairQueuePool",
        **dict.fromkeys(("cap", "total", "peak", "connects", "in_use"), 10**9),
        holders=(Holder(long, 10.0**9, f"{long}views.py:31 in checkout"),) * 20,
        aliases=(long,),
    )
    Reporter(wire.links.sender).report({})
    (pool,) = wire.describe()["pools"]
    assert pool["holders"][:1] or letter in "\x01\U0001f300"
    assert len(pool["holders"]) <= MAX_HOLDERS
    for holder in pool["holders"]:
        assert holder["place"].endswith("views.py:31 in checkout")
        assert len(holder["place"]) == 1 + MAX_PLACE


def test_of_many_pools_the_busiest_are_reported_and_leave_room_in_the_pipe(
    wire: Wire, pools: list[PoolStats]
) -> None:
    pools[:] = [
        PoolStats(f"tenant {n}", "FairQueuePool", 1, 1, 1, 1, in_use=n, holders=(HOLDER,) * 20)
        for n in range(100)
    ]
    Reporter(wire.links.sender).report({f"worker-1/thread-{n}": 0.0 for n in range(500)})
    wire.links.sender.send("leaving", reason="x" * 500)
    last = wire.handle.receiver.receive()[-1]
    assert last["kind"] == "leaving"
    Reporter(wire.links.sender).report({})
    names = [pool["name"] for pool in wire.describe()["pools"]]
    assert names == [f"tenant {n}" for n in range(99, 99 - MAX_POOLS, -1)]


def test_a_message_that_is_too_long_is_not_sent_at_all(wire: Wire) -> None:
    assert not wire.links.sender.send("pool", pool={"name": "x" * MAX_MESSAGE})
    assert wire.links.sender.send("report_end")
    assert wire.handle.receiver.receive() == [{"kind": "report_end"}]


def test_a_command_is_carried_out_and_answered(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = [("first", None), ("second", "a NullPool can't be paused")]
    monkeypatch.setattr(
        commands, "control_pools", lambda command: wire.done.append(command) or outcome
    )
    assert wire.handle.commands is not None
    wire.handle.commands.send("command", number=3, verb="pause", pool="default", size=None)
    done = wire.done.append
    CommandListener(wire.links, lambda: done("reported"), lambda: done("held")).catch_up()
    assert [str(one) for one in wire.done] == [
        "held",
        "PoolCommand(verb='pause', pool='default', size=None)",
        "reported",
    ]
    assert wire.describe()["last_command"] == {
        "number": 3,
        "done": ["first"],
        "refused": "second: a NullPool can't be paused",
    }


def test_an_answer_names_as_many_pools_as_go_into_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"mysql tenant{number}@host/db" for number in range(1000)]
    monkeypatch.setattr(commands, "control_pools", lambda command: [(name, None) for name in names])
    assert wire.handle.commands is not None
    wire.handle.commands.send("command", number=1, verb="reconnect", pool=None, size=None)
    CommandListener(wire.links, lambda: None).catch_up()
    done = wire.describe()["last_command"]["done"]
    assert done == names[: len(done)]
    assert 50 < len(done) < 1000


def test_an_order_of_a_later_version_is_refused(wire: Wire) -> None:
    assert wire.handle.commands is not None
    wire.handle.commands.send("command", number=1, verb="dance", steps=3)
    CommandListener(wire.links, lambda: None).catch_up()
    assert (
        wire.describe()["last_command"]["refused"]
        == "this worker's version of pooldaemon has no command 'dance'"
    )


def test_an_order_that_fails_is_answered_too(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: object) -> None:
        raise LookupError("the pool's own mistake")

    monkeypatch.setattr(commands, "control_pools", fail)
    assert wire.handle.commands is not None
    wire.handle.commands.send("command", number=1, verb="pause", pool=None, size=None)
    CommandListener(wire.links, lambda: None).catch_up()
    assert wire.describe()["last_command"]["refused"] == "the pool's own mistake"


def test_orders_are_followed_until_the_supervisor_is_gone(wire: Wire) -> None:
    assert wire.handle.commands is not None
    task = Task(CommandListener(wire.links, lambda: None).follow)
    for number in (1, 2):
        wire.handle.commands.send("command", number=number, verb="resume", pool="none", size=None)
        wait_until(
            lambda number=number: (wire.describe()["last_command"] or {}).get("number") == number,
            DEADLINE,
            "no answer",
        )
    wire.close()
    task.result()


def test_while_something_is_paused_it_is_closed_again_and_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PAUSED_INTERVAL", 1)
    monkeypatch.setattr(
        commands, "close_paused_pools", lambda: wire.done.append("closed") or len(wire.done) < 3
    )
    task = Task(CommandListener(wire.links, lambda: None).follow)
    wait_until(lambda: len(wire.done) == 3, DEADLINE, "it was not looked at again")
    wire.close()
    task.result()
    assert wire.done == ["closed"] * 3


def test_the_next_supervisor_goes_on_with_both_pipes(wire: Wire) -> None:
    wire.links.sender.send("ready")
    wire.handle.read_messages(0.0)
    after = WorkerHandle.taken_over(wire.handle.hand_over(), now=1.0)
    assert after.descriptors == wire.handle.descriptors
    assert after.commands is not None
    after.commands.send("command", number=1)
    assert wire.links.commands.receive() == [{"kind": "command", "number": 1}]


def test_a_worker_of_a_version_without_orders_is_taken_over_without(wire: Wire) -> None:
    state = wire.handle.hand_over()
    del state["commands"]
    after = WorkerHandle.taken_over(state, now=1.0)
    assert after.commands is None
    assert after.descriptors == [wire.handle.receiver.descriptor]
    assert after.view.describe({}) == {"pools": [], "running": [], "last_command": None}

"""Turns the answers of daemons over time into what is shown. Uses neither a clock nor a
terminal."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pooldaemon.console.words import clean
from pooldaemon.stats import Histogram

Status = Mapping[str, Any]

WINDOW = 5.0
"""Seconds over which rates and waits are computed. Workers report once a second, not in step with
the requests, so that a single second might contain no report, or two."""

PATIENCE = 3.0
"""Seconds after which a daemon that has not answered is shown as silent."""

GROWING = ("timeouts", "rejected", "connect_errors")
"""Counters of a pool that do not grow while all is well."""


class Health(enum.Enum):
    """Whether the daemon answers."""

    ANSWERS = "answers"
    SILENT = "silent"  # it runs, but does not answer
    ENDED = "ended"


@dataclass(frozen=True)
class Unit:
    """A running unit of work. ``done`` and ``total`` are the arguments of ``ctx.progress()``."""

    thread: str
    seconds: float
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True)
class Holder:
    """The holder of a connection, and its pool."""

    pool: str
    thread: str
    seconds: float
    place: str


@dataclass(frozen=True)
class Worker:
    """A worker process.

    :ivar age: seconds since its start.
    :ivar silent: seconds since its last message.
    :ivar rate: units per second in the window; ``None`` until there are two samples.
    :ivar busy: threads in a unit.
    :ivar threads: all its threads.
    :ivar rss: resident memory, in bytes.
    :ivar in_use: connections in use, in all its pools.
    :ivar cap: the sum of their caps; ``None`` if a pool has no cap, or there is no pool.
    :ivar waiting: threads that wait for a connection.
    """

    name: str
    pid: int
    state: str
    age: float
    silent: float
    units: int
    failures: int
    rate: float | None
    busy: int
    threads: int
    rss: int
    restarts: int
    crashes: int
    in_use: int
    cap: int | None
    waiting: int


@dataclass(frozen=True)
class Pool:
    """The pools of the same name in all workers of a daemon, added up.

    :ivar processes: the number of workers that have such a pool.
    :ivar paused: the number of workers in which it is paused.
    :ivar wait: waits for a connection in the window; since the start if there is only one sample.
    :ivar grown: the counters of :data:`GROWING` that have grown in the window.
    """

    name: str
    alias: str
    processes: int = 0
    paused: int = 0
    cap: int | None = 0
    total: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    timeouts: int = 0
    rejected: int = 0
    connects: int = 0
    connect_errors: int = 0
    resets: int = 0
    discards: Mapping[str, int] = field(default_factory=dict)
    wait: Histogram = field(default_factory=Histogram)
    grown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DaemonView:
    """A daemon at one moment.

    :ivar error: why it does not answer; empty if that is not known.
    :ivar since: seconds since its last answer.
    :ivar window: seconds over which rates and waits are computed; 0: since the workers' start.
    :ivar status: its last answer; empty if there was none.
    """

    name: str
    health: Health
    error: str = ""
    since: float = 0.0
    window: float = 0.0
    status: Status = field(default_factory=dict)
    rate: float | None = None
    workers: tuple[Worker, ...] = ()
    units: tuple[Unit, ...] = ()
    pools: tuple[Pool, ...] = ()
    holders: tuple[Holder, ...] = ()

    @property
    def ready(self) -> int:
        return sum(worker.state == "ready" for worker in self.workers)

    @property
    def paused(self) -> bool:
        return any(pool.paused for pool in self.pools)


class History:
    """One daemon's answers of the last :data:`WINDOW`. Times are seconds of a monotonic clock."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._samples: deque[tuple[float, Status]] = deque()
        self._asked: float | None = None
        self._error = ""
        self._ended = False

    def asked(self, now: float) -> None:
        """A request has been sent."""
        self._asked = now

    def answered(self, status: Status, now: float) -> None:
        """The daemon has answered."""
        if self._samples and self._samples[-1][1]["pid"] != status["pid"]:
            self._samples.clear()  # another daemon of the same name
        self._samples.append((now, status))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:
            self._samples.popleft()
        self._asked, self._error, self._ended = None, "", False

    def failed(self, error: str) -> None:
        """The daemon runs, but has not answered."""
        self._asked, self._error, self._ended = None, error, False

    def ended(self) -> None:
        """The daemon is not running."""
        self._error, self._ended = "", True

    def view(self, now: float) -> DaemonView:
        late = self._asked is not None and now - self._asked > PATIENCE
        silent = bool(self._error) or late
        health = Health.ENDED if self._ended else Health.SILENT if silent else Health.ANSWERS
        view = DaemonView(self._name, health, clean(self._error))
        if not self._samples:
            return view
        return replace(view, since=now - self._samples[-1][0], **_picture(self._samples))


def _picture(samples: Sequence[tuple[float, Status]]) -> dict[str, Any]:
    (began, first), (ended, last) = samples[0], samples[-1]
    window = ended - began
    before = {worker["pid"]: worker for worker in first["workers"]}
    threads = last["options"]["threads"]["value"]
    workers = [
        _worker(worker, threads, before.get(worker["pid"]), window) for worker in last["workers"]
    ]
    return {
        "status": last,
        "window": window,
        "rate": _rate(last, first, window),
        "workers": tuple(workers),
        "units": tuple(_units(last["workers"])),
        "pools": tuple(_pools(last["workers"], before if window else {})),
        "holders": tuple(_holders(last["workers"])),
    }


def _worker(state: Status, threads: int, before: Status | None, window: float) -> Worker:
    pools = state.get("pools", ())
    caps = [pool["cap"] for pool in pools]
    return Worker(
        **{name: state[name] for name in ("name", "pid", "state", "age", "silent")},
        **{name: state[name] for name in ("units", "failures", "busy", "rss", "crashes")},
        threads=threads,
        restarts=state.get("restarts", 0),
        rate=_rate(state, before, window),
        in_use=sum(pool["in_use"] for pool in pools),
        cap=sum(caps) if caps and None not in caps else None,
        waiting=sum(pool["waiting"] for pool in pools),
    )


def _rate(state: Status, before: Status | None, window: float) -> float | None:
    """Units per second. A worker without an earlier sample started at 0 units."""
    if not window or "units" not in state:
        return None
    units: int = state["units"] - (before["units"] if before else 0)
    return max(0, units) / window


def _units(workers: Iterable[Status]) -> list[Unit]:
    found = [
        Unit(clean(unit["thread"]), unit["seconds"], unit["done"], unit["total"])
        for worker in workers
        for unit in worker.get("running", ())
    ]
    return sorted(found, key=lambda unit: -unit.seconds)


def _holders(workers: Iterable[Status]) -> list[Holder]:
    found = [
        Holder(
            clean(pool["name"]),
            clean(holder["thread"]),
            holder["seconds"],
            clean(holder["place"]),
        )
        for worker in workers
        for pool in worker.get("pools", ())
        for holder in pool["holders"]
    ]
    return sorted(found, key=lambda holder: -holder.seconds)


def _pools(workers: Iterable[Status], before: Mapping[int, Status]) -> list[Pool]:
    found: dict[tuple[str, str], Pool] = {}
    for worker in workers:
        earlier = {_key(pool): pool for pool in before.get(worker["pid"], {}).get("pools", ())}
        for state in worker.get("pools", ()):
            key = _key(state)
            so_far = found.get(key) or Pool(clean(state["name"]), clean(state["alias"]))
            found[key] = _add(so_far, state, earlier.get(key))
    return sorted(found.values(), key=lambda pool: (pool.alias, pool.name))


def _key(pool: Status) -> tuple[str, str]:
    return pool["name"], pool["alias"]


def _add(pool: Pool, state: Status, before: Status | None) -> Pool:
    """*pool* with the counters of one worker's pool added.

    :param state: the worker's pool now; *before*: at the beginning of the window.
    """
    counters = ("total", "in_use", "idle", "waiting", "connects", "resets", *GROWING)
    sums: dict[str, Any] = {name: getattr(pool, name) + state[name] for name in counters}
    discards = dict(pool.discards)
    for reason, number in state["discards"].items():
        discards[clean(reason)] = discards.get(reason, 0) + number
    grown = {name for name in GROWING if before and state[name] > before[name]}
    return replace(
        pool,
        **sums,
        processes=pool.processes + 1,
        paused=pool.paused + bool(state["paused"]),
        cap=None if pool.cap is None or state["cap"] is None else pool.cap + state["cap"],
        discards=discards,
        wait=_sum(pool.wait, _since(state["wait"], before and before["wait"])),
        grown=pool.grown | grown,
    )


def _since(state: Status, before: Status | None) -> Histogram:
    """The histogram without what is in *before*; all of it if the pool has been opened since."""
    if before and all(b <= t for b, t in zip(before["counts"], state["counts"], strict=True)):
        counts = (t - b for b, t in zip(before["counts"], state["counts"], strict=True))
        return Histogram(tuple(counts), state["total"] - before["total"])
    return Histogram(tuple(state["counts"]), state["total"])


def _sum(one: Histogram, other: Histogram) -> Histogram:
    counts = (a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(tuple(counts), one.total + other.total)

"""What daemons have answered over time, as what is shown of them. Pure: no clock, no terminal."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pooldaemon.console.words import clean
from pooldaemon.stats import Histogram

Told = Mapping[str, Any]

WINDOW = 5.0
"""Seconds over which rates and waits are taken. Workers report once a second and not in step with
the questions, so a single second would show none or two reports."""

PATIENCE = 3.0
"""Seconds that a daemon gets to answer before it is shown as silent."""

GROWING = ("timeouts", "rejected", "connect_errors")
"""Counters of a pool that should stand still."""


class Health(enum.Enum):
    """Whether the daemon answers."""

    ANSWERS = "answers"
    SILENT = "silent"  # it lives
    ENDED = "ended"


@dataclass(frozen=True)
class Unit:
    """A unit of work under way. ``done`` and ``total`` as ``ctx.progress()`` was given them."""

    thread: str
    seconds: float
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True)
class Holder:
    """Who has a connection, of which pool."""

    pool: str
    thread: str
    seconds: float
    place: str


@dataclass(frozen=True)
class Worker:
    """A worker process.

    :ivar threads: how many it has; :ivar busy: inside a unit.
    :ivar rate: units in a second, over the window; ``None`` until there are two samples.
    :ivar in_use: connections of all its pools; :ivar cap: ``None`` if one has no limit, or if there
        is none; :ivar waiting: threads in their queues.
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
    """The pools of one name in all workers of a daemon, added up.

    :ivar processes: in how many workers there is one; :ivar paused: in how many it is paused.
    :ivar wait: of the borrows in the window, or since the beginning if there is one sample alone.
    :ivar grown: those of :data:`GROWING` that have grown in the window.
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

    :ivar error: why it does not answer.
    :ivar since: seconds since its last answer.
    :ivar window: seconds over which rates and waits are taken; 0: since the workers' beginning.
    :ivar told: the last answer, empty if there has been none.
    """

    name: str
    health: Health
    error: str = ""
    since: float = 0.0
    window: float = 0.0
    told: Told = field(default_factory=dict)
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
    """One daemon's answers of the last :data:`WINDOW`.

    Times are of one monotonic clock, in seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._samples: deque[tuple[float, Told]] = deque()
        self._asked: float | None = None
        self._error = ""
        self._ended = False

    def asked(self, now: float) -> None:
        """A question is under way."""
        self._asked = now

    def heard(self, told: Told, now: float) -> None:
        """It has answered."""
        if self._samples and self._samples[-1][1]["pid"] != told["pid"]:
            self._samples.clear()  # another daemon of this name
        self._samples.append((now, told))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:
            self._samples.popleft()
        self._asked, self._error, self._ended = None, "", False

    def failed(self, error: str) -> None:
        """It has not, though it lives."""
        self._asked, self._error, self._ended = None, error, False

    def ended(self) -> None:
        """It does not live."""
        self._error, self._ended = "", True

    def view(self, now: float) -> DaemonView:
        late = self._asked is not None and now - self._asked > PATIENCE
        silent = bool(self._error) or late
        health = Health.ENDED if self._ended else Health.SILENT if silent else Health.ANSWERS
        view = DaemonView(self._name, health, clean(self._error))
        if not self._samples:
            return view
        return replace(view, since=now - self._samples[-1][0], **_picture(self._samples))


def _picture(samples: Sequence[tuple[float, Told]]) -> dict[str, Any]:
    (began, first), (ended, last) = samples[0], samples[-1]
    window = ended - began
    before = {worker["pid"]: worker for worker in first["workers"]}
    threads = last["options"]["threads"]["value"]
    workers = [
        _worker(worker, threads, before.get(worker["pid"]), window) for worker in last["workers"]
    ]
    return {
        "told": last,
        "window": window,
        "rate": _rate(last, first, window),
        "workers": tuple(workers),
        "units": tuple(_units(last["workers"])),
        "pools": tuple(_pools(last["workers"], before if window else {})),
        "holders": tuple(_holders(last["workers"])),
    }


def _worker(told: Told, threads: int, before: Told | None, window: float) -> Worker:
    pools = told.get("pools", ())
    caps = [pool["cap"] for pool in pools]
    return Worker(
        **{name: told[name] for name in ("name", "pid", "state", "age", "silent")},
        **{name: told[name] for name in ("units", "failures", "busy", "rss", "crashes")},
        threads=threads,
        restarts=told.get("restarts", 0),
        rate=_rate(told, before, window),
        in_use=sum(pool["in_use"] for pool in pools),
        cap=sum(caps) if caps and None not in caps else None,
        waiting=sum(pool["waiting"] for pool in pools),
    )


def _rate(told: Told, before: Told | None, window: float) -> float | None:
    """Units in a second. A worker that is new has begun at 0."""
    if not window or "units" not in told:
        return None
    units: int = told["units"] - (before["units"] if before else 0)
    return max(0, units) / window


def _units(workers: Iterable[Told]) -> list[Unit]:
    found = [
        Unit(clean(unit["thread"]), unit["seconds"], unit["done"], unit["total"])
        for worker in workers
        for unit in worker.get("running", ())
    ]
    return sorted(found, key=lambda unit: -unit.seconds)


def _holders(workers: Iterable[Told]) -> list[Holder]:
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


def _pools(workers: Iterable[Told], before: Mapping[int, Told]) -> list[Pool]:
    found: dict[tuple[str, str], Pool] = {}
    for worker in workers:
        earlier = {_key(pool): pool for pool in before.get(worker["pid"], {}).get("pools", ())}
        for told in worker.get("pools", ()):
            key = _key(told)
            so_far = found.get(key) or Pool(clean(told["name"]), clean(told["alias"]))
            found[key] = _add(so_far, told, earlier.get(key))
    return sorted(found.values(), key=lambda pool: (pool.alias, pool.name))


def _key(pool: Told) -> tuple[str, str]:
    return pool["name"], pool["alias"]


def _add(pool: Pool, told: Told, before: Told | None) -> Pool:
    """*pool* and one process's, of which *before* was told at the window's beginning."""
    counters = ("total", "in_use", "idle", "waiting", "connects", "resets", *GROWING)
    sums: dict[str, Any] = {name: getattr(pool, name) + told[name] for name in counters}
    discards = dict(pool.discards)
    for reason, number in told["discards"].items():
        discards[clean(reason)] = discards.get(reason, 0) + number
    grown = {name for name in GROWING if before and told[name] > before[name]}
    return replace(
        pool,
        **sums,
        processes=pool.processes + 1,
        paused=pool.paused + bool(told["paused"]),
        cap=None if pool.cap is None or told["cap"] is None else pool.cap + told["cap"],
        discards=discards,
        wait=_sum(pool.wait, _since(told["wait"], before and before["wait"])),
        grown=pool.grown | grown,
    )


def _since(told: Told, before: Told | None) -> Histogram:
    """What has come since *before*; all of it, if the pool has begun anew."""
    if before and all(b <= t for b, t in zip(before["counts"], told["counts"], strict=True)):
        counts = (t - b for b, t in zip(before["counts"], told["counts"], strict=True))
        return Histogram(tuple(counts), told["total"] - before["total"])
    return Histogram(tuple(told["counts"]), told["total"])


def _sum(one: Histogram, other: Histogram) -> Histogram:
    counts = (a + b for a, b in zip(one.counts, other.counts, strict=True))
    return Histogram(tuple(counts), one.total + other.total)

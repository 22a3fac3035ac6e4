"""Turns the statuses of daemons into what the rules examine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pooldaemon.advice.case import PoolUse, Processes
from pooldaemon.conf import ALL, DAEMON_RULES, check_settings, of_database
from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.stats import Histogram
from pooldaemon.workers.supervisor.budget import RESERVE, Budget

Status = Mapping[str, Any]

COUNTERS = ("timeouts", "rejected", "connects", "connect_errors", "resets")


def running(status: Status) -> Processes:
    """The workers of a running daemon."""
    options = {name: option["value"] for name, option in status["options"].items()}
    return _workers(status["name"], status["processes"], options)


def configured() -> tuple[Processes, ...]:
    """The workers of a daemon by the settings, if ``settings.POOLDAEMON`` has their number."""
    rules = {name.upper(): rule for name, rule in DAEMON_RULES.items()}
    try:
        options = {name.lower(): value for name, value in check_settings(rules).items()}
    except ImproperlyConfigured:
        return ()  # another check reports this
    return (_workers("daemon", options["processes"], options),) if "processes" in options else ()


def _workers(name: str, count: int, options: Status) -> Processes:
    each = options.get("max_connections") or {}
    each = {ALL: each} if isinstance(each, int) else each
    caps = Budget(options.get("total_connections"), each).share(count)
    return Processes(name, count, caps, RESERVE)


def uses(status: Status) -> Iterator[PoolUse]:
    """A daemon's pools, added up over its workers, except pools without a cap."""
    found = defaultdict(list)
    for worker in status["workers"]:
        for pool in worker.get("pools", ()):
            if pool["cap"] is not None:
                found[pool["name"], pool["alias"]].append(pool)
    age = max((worker["age"] for worker in status["workers"]), default=0.0)
    for (name, alias), pools in found.items():
        yield PoolUse(
            daemon=status["name"],
            name=name,
            alias=alias,
            cap=max(pool["cap"] for pool in pools),
            cap_place=_cap_place(status["options"], alias),
            peak=max(pool["peak"] for pool in pools),
            threads=status["options"]["threads"]["value"],
            age=age,
            counters={counter: sum(pool[counter] for pool in pools) for counter in COUNTERS},
            discards=sum((Counter(pool["discards"]) for pool in pools), Counter()),
            wait=_sum(pool["wait"] for pool in pools),
            use=_sum(pool["use"] for pool in pools),
            connect=_sum(pool["connect"] for pool in pools),
            oldest=_oldest(pools),
            paused=any(pool["paused"] for pool in pools),
        )


def _cap_place(options: Status, alias: str) -> str:
    """The setting or option that sets the cap."""
    limit, total = options["max_connections"], options["total_connections"]
    each = limit["value"]
    if isinstance(each, int) or (each and of_database(each, alias) is not None):
        return str(limit["origin"])
    if total["value"] is not None:
        return str(total["origin"])
    return f"DATABASES[{alias!r}]['OPTIONS']['pool']['pool_size']"


def _sum(status: Iterable[Status]) -> Histogram:
    histograms = list(status)
    counts = zip(*(one["counts"] for one in histograms), strict=True)
    return Histogram(tuple(map(sum, counts)), sum(one["total"] for one in histograms))


def _oldest(pools: Iterable[Status]) -> tuple[float, str]:
    holders = [holder for pool in pools for holder in pool["holders"]]
    if not holders:
        return 0.0, ""
    oldest = max(holders, key=lambda holder: holder["seconds"])
    return oldest["seconds"], f"{oldest['thread']}, borrowed at {oldest['place']}"

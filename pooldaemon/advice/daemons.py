"""What daemons tell (``status``), as the rules look at it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pooldaemon.advice.case import PoolUse, Processes
from pooldaemon.conf import ALL, DAEMON_RULES, check_settings, of_database
from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.stats import Histogram
from pooldaemon.workers.supervisor.budget import RESERVE, Budget

Told = Mapping[str, Any]

COUNTERS = ("timeouts", "rejected", "connects", "connect_errors", "resets")


def running(told: Told) -> Processes:
    """The workers of a daemon."""
    options = {name: option["value"] for name, option in told["options"].items()}
    return _workers(told["name"], told["processes"], options)


def configured() -> tuple[Processes, ...]:
    """The workers of a daemon to come, if ``settings.POOLDAEMON`` says how many."""
    rules = {name.upper(): rule for name, rule in DAEMON_RULES.items()}
    try:
        options = {name.lower(): value for name, value in check_settings(rules).items()}
    except ImproperlyConfigured:
        return ()  # another check tells
    return (_workers("daemon", options["processes"], options),) if "processes" in options else ()


def _workers(name: str, count: int, options: Told) -> Processes:
    each = options.get("max_connections") or {}
    each = {ALL: each} if isinstance(each, int) else each
    caps = Budget(options.get("total_connections"), each).share(count)
    return Processes(name, count, caps, RESERVE)


def uses(told: Told) -> Iterator[PoolUse]:
    """Its pools, those of all workers added up. Pools without a cap tell too little."""
    found = defaultdict(list)
    for worker in told["workers"]:
        for pool in worker.get("pools", ()):
            if pool["cap"] is not None:
                found[pool["name"], pool["alias"]].append(pool)
    age = max((worker["age"] for worker in told["workers"]), default=0.0)
    for (name, alias), pools in found.items():
        yield PoolUse(
            daemon=told["name"],
            name=name,
            alias=alias,
            cap=max(pool["cap"] for pool in pools),
            cap_place=_cap_place(told["options"], alias),
            peak=max(pool["peak"] for pool in pools),
            threads=told["options"]["threads"]["value"],
            age=age,
            counters={counter: sum(pool[counter] for pool in pools) for counter in COUNTERS},
            discards=sum((Counter(pool["discards"]) for pool in pools), Counter()),
            wait=_sum(pool["wait"] for pool in pools),
            use=_sum(pool["use"] for pool in pools),
            connect=_sum(pool["connect"] for pool in pools),
            oldest=_oldest(pools),
            paused=any(pool["paused"] for pool in pools),
        )


def _cap_place(options: Told, alias: str) -> str:
    """Where to change the cap."""
    limit, total = options["max_connections"], options["total_connections"]
    each = limit["value"]
    if isinstance(each, int) or (each and of_database(each, alias) is not None):
        return str(limit["origin"])
    if total["value"] is not None:
        return str(total["origin"])
    return f"DATABASES[{alias!r}]['OPTIONS']['pool']['pool_size']"


def _sum(told: Iterable[Told]) -> Histogram:
    histograms = list(told)
    counts = zip(*(one["counts"] for one in histograms), strict=True)
    return Histogram(tuple(map(sum, counts)), sum(one["total"] for one in histograms))


def _oldest(pools: Iterable[Told]) -> tuple[float, str]:
    holders = [holder for pool in pools for holder in pool["holders"]]
    if not holders:
        return 0.0, ""
    oldest = max(holders, key=lambda holder: holder["seconds"])
    return oldest["seconds"], f"{oldest['thread']}, borrowed at {oldest['place']}"

"""``status`` for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pooldaemon.console.words import duration, reload_in_words
from pooldaemon.management.options import shown

Worker = Mapping[str, Any]

COLUMNS: dict[str, Callable[[Worker], str]] = {
    "WORKER": lambda worker: worker["name"],
    "PID": lambda worker: str(worker["pid"]),
    "STATE": lambda worker: worker["state"],
    "UP": lambda worker: duration(worker["age"]),
    "UNITS": lambda worker: str(worker["units"]),
    "FAILED": lambda worker: str(worker["failures"]),
    "BUSY": lambda worker: str(worker["busy"]),
    "LONGEST UNIT": lambda worker: duration(worker["longest"][1]) if worker["longest"] else "-",
    "CONNECTIONS": lambda worker: str(worker["connections"]),
    "MEMORY": lambda worker: f"{worker['rss'] / 2**20:.0f} MiB",
    "CRASHES": lambda worker: str(worker["crashes"]),
}

BAR = 20
"""Characters in a bar."""


def daemon_table(told: Mapping[str, Any], *, bars: bool) -> str:
    """What the daemon has *told* of itself, in lines: state, workers, options.

    :param bars: show progress as bars as well.
    """
    workers = told["workers"]
    ready = sum(worker["state"] == "ready" for worker in workers)
    since = f"{told['state']} as pid {told['pid']} for {duration(told['uptime'])}"
    lines = [f"{since}, {ready} of {told['processes']} workers ready"]
    if target := told.get("target"):
        lines.append(f"target: {target}")
    for trouble in told.get("troubles", ()):
        what, since, times = trouble["what"], duration(trouble["for"]), trouble["times"]
        lines.append(f"can't {what} for {since}, {times} times: {trouble['error']}")
    if told["last_death"]:
        lines.append(f"last death: {told['last_death']}")
    if reload := reload_in_words(told["reload"]):
        lines.append(reload)
    # A daemon that was started before an upgrade may not tell of these.
    pools = (pool for worker in workers for pool in worker.get("pools", ()))
    paused = Counter(pool["name"] for pool in pools if pool["paused"])
    lines += [f"paused in {count} workers: {name}" for name, count in sorted(paused.items())]
    if metrics := told.get("metrics"):
        lines.append(f"metrics: http://{metrics['address']}/metrics")
    rows = [list(COLUMNS), *([show(worker) for show in COLUMNS.values()] for worker in workers)]
    lines += ["", *align(rows)]
    units = [unit for worker in workers for unit in worker["progress"]]
    if units:
        rows = [["UNIT IN", "PROGRESS"]]
        rows += [
            [unit["thread"], progress(unit["done"], unit["total"], bar=bars)] for unit in units
        ]
        lines += ["", *align(rows)]
    options = told["options"].items()
    rows = [["OPTION", "VALUE", "FROM"]]
    rows += [[name, shown(option["value"]), option["origin"]] for name, option in options]
    lines += ["", *align(rows)]
    return "\n".join(lines)


def progress(done: float, total: float | None, *, bar: bool) -> str:
    """``"[##########..........]  50%  60 of 120"``; without a known total what is done."""
    if not total:
        return f"{done:g}"
    share = min(1.0, max(0.0, done / total))
    filled = "#" * round(share * BAR)
    return (f"[{filled:.<{BAR}}] " if bar else "") + f"{share:4.0%}  {done:g} of {total:g}"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

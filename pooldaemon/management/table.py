"""The text output of ``status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pooldaemon.conf import count
from pooldaemon.console.words import duration, ready_workers, reload_in_words
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


def daemon_table(status: Mapping[str, Any], *, bars: bool) -> str:
    """A daemon's status in lines: its state, workers, units and options.

    :param status: the answer of the daemon's control socket.
    :param bars: whether to show progress as bars as well.
    """
    workers = status["workers"]
    ready = sum(worker["state"] == "ready" for worker in workers)
    state = f"{status['state']}, pid {status['pid']}, up {duration(status['uptime'])}"
    lines = [f"{state}, {ready_workers(ready, status['processes'])}"]
    if target := status.get("target"):
        lines.append(f"target: {target}")
    for trouble in status.get("troubles", ()):
        failed, since = count(trouble["times"], "failure"), duration(trouble["for"])
        lines.append(f"can't {trouble['what']}: {trouble['error']} ({failed} in {since})")
    if status["last_death"]:
        lines.append(f"last death: {status['last_death']}")
    if reload := reload_in_words(status["reload"]):
        lines.append(reload)
    # An older version of the daemon may not report pools.
    pools = (pool for worker in workers for pool in worker.get("pools", ()))
    paused = Counter(pool["name"] for pool in pools if pool["paused"])
    lines += [f"paused in {count(n, 'worker')}: {name}" for name, n in sorted(paused.items())]
    if metrics := status.get("metrics"):
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
    options = status["options"].items()
    rows = [["OPTION", "VALUE", "FROM"]]
    rows += [[name, shown(option["value"]), option["origin"]] for name, option in options]
    lines += ["", *align(rows)]
    return "\n".join(lines)


def progress(done: float, total: float | None, *, bar: bool) -> str:
    """``"[##########..........]  50%  60 of 120"``; without a total, the amount done."""
    if not total:
        return f"{done:g}"
    share = min(1.0, max(0.0, done / total))
    filled = "#" * round(share * BAR)
    return (f"[{filled:.<{BAR}}] " if bar else "") + f"{share:4.0%}  {done:g} of {total:g}"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """*rows* as lines, with each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

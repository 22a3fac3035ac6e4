"""Draws a :class:`~pooldaemon.console.view.DaemonView` with rich."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rich.console import Group, RenderableType
from rich.styled import Styled
from rich.text import Text

from pooldaemon.console.terminal.grid import Cell, Column, Glyphs, Grid, bar
from pooldaemon.console.view import DaemonView, Health, Holder, Pool, Unit, Worker
from pooldaemon.console.words import clean, duration, reload_in_words

STATES = {"ready": "green", "running": "green", "killed": "red"}
"""The colours of states. All others are yellow."""

SILENCE = 3.0
"""Seconds without a message after which a worker is shown as silent. It sends one each second."""


def overview(views: Sequence[DaemonView], chosen: str | None, glyphs: Glyphs) -> RenderableType:
    """A table with a line for each daemon, and a mark at the *chosen* one."""
    columns = [
        Column("", lambda view: glyphs.chosen if view.name == chosen else ""),
        Column("DAEMON", lambda view: clean(view.name), name=True),
        Column("STATE", _state, left=True),
        Column("UP", _if_it_answers(lambda view: duration(view.status["uptime"])), 2),
        Column("WORKERS", _if_it_answers(_ready), 1),
        Column("UNITS/S", _if_it_answers(lambda view: _rate(view.rate)), 1),
        Column("FAILED", _if_it_answers(partial(_field, name="failures")), 3),
        Column("RESTARTS", _if_it_answers(partial(_field, name="restarts")), 4),
        Column("IN USE", _if_it_answers(lambda view: str(_sum(view, "in_use"))), 5),
        Column("WAITING", _if_it_answers(lambda view: _alarm(_sum(view, "waiting"))), 1),
    ]
    return Grid(None, columns, views)


def details(view: DaemonView, glyphs: Glyphs) -> RenderableType:
    """The details of one daemon: pools, workers, units, holders of connections."""
    parts: list[RenderableType] = [_headline(view)]
    if view.status:
        parts += [Text(), _pools(view, glyphs), Text(), _workers(view.workers)]
    if view.units:
        parts += [Text(), _units(view.units, glyphs)]
    if view.holders:
        parts += [Text(), _holders(view.holders)]
    # The last status of a daemon that has ended is shown, since it may explain the end.
    return Styled(Group(*parts), "" if view.health is Health.ANSWERS else "dim")


def _headline(view: DaemonView) -> Text:
    lines = [Text.assemble((clean(view.name), "bold"), "  ", _state(view))]
    ago = f"; its last answer is {duration(view.since)} old" if view.status else ""
    match view.health:
        case Health.ENDED:
            lines[0].append(ago, "red")
        case Health.SILENT:
            lines[0].append(f": {view.error or 'no answer yet'}{ago}", "red")
        case Health.ANSWERS if view.status:
            pid, uptime = view.status["pid"], duration(view.status["uptime"])
            lines[0].append(f", pid {pid}, up {uptime}")
    if view.status and (death := view.status["last_death"]):
        lines.append(Text(clean(f"last death: {death}"), "yellow"))
    if view.status and (reload := reload_in_words(view.status["reload"])):
        lines.append(Text(clean(reload), "yellow"))
    return Text("\n").join(lines)


def _pools(view: DaemonView, glyphs: Glyphs) -> RenderableType:
    span = f"in the last {view.window:.0f} s" if view.window else "since the start"
    columns = [
        Column("POOL", _pool_name, name=True),
        Column("", partial(_usage, glyphs=glyphs), 1, left=True),
        Column("IN USE", lambda pool: str(pool.in_use)),
        Column("IDLE", lambda pool: str(pool.idle), 3),
        Column("WAITING", lambda pool: _alarm(pool.waiting), 1),
        Column("CAP", lambda pool: "-" if pool.cap is None else str(pool.cap), 1),
        Column("P50", lambda pool: _bound(pool.wait.quantile(0.50), glyphs), 4),
        Column("P95", lambda pool: _bound(pool.wait.quantile(0.95), glyphs), 2),
        Column("P99", lambda pool: _bound(pool.wait.quantile(0.99), glyphs), 4),
        Column("TIMEOUTS", partial(_counter, name="timeouts"), 1),
        Column("REJECTED", partial(_counter, name="rejected"), 6),
        Column("CONNECTS", lambda pool: str(pool.connects), 6),
        Column("FAILED", partial(_counter, name="connect_errors"), 6),
        Column("RESETS", lambda pool: str(pool.resets), 7),
        Column("DISCARDS", _discards, 5),
    ]
    title = f"Pools, summed over all workers; P50, P95, P99: waits for a connection {span}"
    return Grid(title, columns, view.pools) if view.pools else Text("No pool is open.", "dim")


def _workers(workers: Iterable[Worker]) -> RenderableType:
    columns = [
        Column("WORKER", lambda worker: worker.name, name=True),
        Column("PID", lambda worker: str(worker.pid), 3),
        Column("STATE", _worker_state, 1, left=True),
        Column("UP", lambda worker: duration(worker.age), 4),
        Column("UNITS/S", lambda worker: _rate(worker.rate)),
        Column("UNITS", lambda worker: str(worker.units), 7),
        Column("FAILED", lambda worker: str(worker.failures), 5),
        Column("BUSY", lambda worker: f"{worker.busy}/{worker.threads}", 1),
        Column("IN USE", _in_use, 1),
        Column("WAITING", lambda worker: _alarm(worker.waiting), 1),
        Column("MEMORY", lambda worker: f"{worker.rss / 2**20:.0f} MiB", 6),
        Column("RESTARTS", lambda worker: str(worker.restarts), 2),
        Column("CRASHES", lambda worker: _alarm(worker.crashes), 5),
    ]
    return Grid("Workers", columns, workers)


def _units(units: Sequence[Unit], glyphs: Glyphs) -> RenderableType:
    columns = [
        Column("THREAD", lambda unit: unit.thread, name=True),
        Column("FOR", lambda unit: duration(unit.seconds)),
        Column("PROGRESS", partial(_progress, glyphs=glyphs), 1, left=True),
    ]
    return Grid(f"Running units of work: {len(units)}, longest first", columns, units)


def _holders(holders: Sequence[Holder]) -> RenderableType:
    columns = [
        Column("HOLDS A CONNECTION", lambda holder: holder.thread, name=True),
        Column("FOR", lambda holder: duration(holder.seconds)),
        Column("BORROWED AT", lambda holder: holder.place, 1, name=True, end=True),
        Column("POOL", lambda holder: holder.pool, 2, name=True, end=True),
    ]
    return Grid("Connections in use, longest first", columns, holders)


# -- cells ----------------------------------------------------------------------------


def _state(view: DaemonView) -> Text:
    if view.health is not Health.ANSWERS:
        return Text(view.health.value, "red")
    if not view.status:
        return Text("asked")
    word = "paused" if view.paused else view.status["state"]
    return Text(word, STATES.get(word, "yellow"))


def _worker_state(worker: Worker) -> Text:
    text = Text(worker.state, STATES.get(worker.state, "yellow"))
    return text.append(f", silent {duration(worker.silent)}", "red") if _silent(worker) else text


def _silent(worker: Worker) -> bool:
    return worker.silent > SILENCE


def _if_it_answers(cell: Callable[[DaemonView], Cell]) -> Callable[[DaemonView], Cell]:
    """Nothing where it would be an old truth."""
    return lambda view: cell(view) if view.health is Health.ANSWERS and view.status else ""


def _ready(view: DaemonView) -> str:
    return f"{view.ready}/{view.status['processes']}"


def _sum(view: DaemonView, name: str) -> int:
    return sum(getattr(pool, name) for pool in view.pools)


def _field(view: DaemonView, name: str) -> str:
    return str(view.status.get(name, ""))


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _alarm(number: int) -> Text:
    return Text(str(number), "bold red" if number else "")


def _in_use(worker: Worker) -> str:
    return str(worker.in_use) if worker.cap is None else f"{worker.in_use}/{worker.cap}"


def _pool_name(pool: Pool) -> Text:
    text = Text(f"{pool.alias}: {pool.name}")
    if pool.paused:
        where = "" if pool.paused == pool.processes else f" in {pool.paused} of {pool.processes}"
        text = Text.assemble((f"paused{where} ", "bold yellow"), text)
    return text


def _usage(pool: Pool, glyphs: Glyphs) -> Text:
    """A bar of the connections in use, the idle ones, and the rest of the cap."""
    total = pool.cap or pool.in_use + pool.idle
    full = pool.in_use >= total
    style = "red" if full and pool.waiting else "yellow" if full else "green"
    parts = [(pool.in_use, glyphs.full, style), (pool.idle, glyphs.half, style)]
    return bar(parts, total, glyphs.free)


def _bound(seconds: float | None, glyphs: Glyphs) -> str:
    """A quantile: known only to be at most the bound of a bucket."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return ">10 s"
    short = f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
    return f"{glyphs.at_most}{short}"


def _counter(pool: Pool, name: str) -> Text:
    return Text(str(getattr(pool, name)), "bold red" if name in pool.grown else "")


def _discards(pool: Pool) -> str:
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(pool.discards.items()))
    return reasons or "0"


def _progress(unit: Unit, glyphs: Glyphs) -> Text:
    if unit.done is None:
        return Text("")
    if not unit.total:
        return Text(f"{unit.done:g}")
    share = min(1.0, max(0.0, unit.done / unit.total))
    drawn = bar([(round(share * 1000), glyphs.full, "cyan")], 1000, glyphs.free)
    return drawn.append(f" {share:4.0%}  {unit.done:g} of {unit.total:g}", "")

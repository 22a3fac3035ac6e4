"""Units of work that leave something on the session, so that it has to be reset."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.measure import interleave, time_each, typical
from benchmarks.result import Bars, Result

TIME = "µs per unit"
LEAKS = "next borrower sees it"
SECTION = "Units that set a variable"


def run(bench: Bench) -> Result:
    rounds = bench.rounds(20)
    result = Result(
        "Dirty sessions",
        "In one thread, each unit of work sets a user variable. The last column shows whether the "
        "next borrower of the connection sees the variable (1) or a clean session (0).",
        rounds,
        plots=[Bars(TIME)],
    )
    with c.opened(c.field(bench.target, size=1), result.notes) as running:
        measured = interleave(running, rounds, partial(_time, bench.of(0.2, 0.05)))
        for contender, values in zip(running, measured, strict=True):
            result.add(SECTION, contender.label, values | {LEAKS: [_leaks(contender)]})
    result.compare(SECTION, c.PER_REQUEST, c.OURS, TIME)
    result.compare(SECTION, c.OURS, c.PERSISTENT, TIME)
    result.compare(SECTION, c.OTHER_POOL, c.OURS, TIME)
    return result


def _unit(contender: c.Contender) -> None:
    contender.query("SET @left = 1")
    contender.done()


def _time(seconds: float, contender: c.Contender) -> Mapping[str, float]:
    return {TIME: typical(time_each(seconds, partial(_unit, contender)))}


def _leaks(contender: c.Contender) -> int:
    _unit(contender)
    (seen,) = contender.query("SELECT @left IS NOT NULL")
    contender.done()
    return int(seen)

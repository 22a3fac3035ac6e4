"""The hot cycle over TLS, where a reconnect is dear."""

from __future__ import annotations

from functools import partial

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.cases.hot_cycle import TIME, time_cycles
from benchmarks.measure import interleave
from benchmarks.result import Bars, Result, Skipped
from benchmarks.server import offers_tls

SECTION = "Cycle over TLS"


def run(bench: Bench) -> Result:
    if not offers_tls(bench.target):
        raise Skipped("the server does not offer TLS")
    rounds = bench.rounds(15)
    result = Result(
        "TLS",
        "The hot cycle over TLS: one thread borrows a connection, runs SELECT 1 and returns the "
        "connection. Django, per request, opens a new connection each time.",
        rounds,
        plots=[Bars(TIME)],
    )
    everybody = c.field(bench.target, size=4, ssl_mode="REQUIRED")
    with c.opened(everybody, result.notes) as running:
        for contender in running:
            _make_sure_it_is_tls(contender)
        measured = interleave(running, rounds, partial(time_cycles, bench.of(0.3, 0.1)))
        for contender, values in zip(running, measured, strict=True):
            result.add(SECTION, contender.label, values)
    result.compare(SECTION, c.OURS, c.PERSISTENT, TIME)
    result.compare(SECTION, c.OTHER_POOL, c.OURS, TIME)
    result.compare(SECTION, c.PER_REQUEST, c.OURS, TIME)
    return result


def _make_sure_it_is_tls(contender: c.Contender) -> None:
    _, cipher = contender.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    contender.done()
    if not cipher:
        raise RuntimeError(f"{contender.label} is not on TLS")

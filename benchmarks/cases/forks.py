"""A process that forks while its threads use the database: what is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.result import Check, Result
from benchmarks.server import Target, offers_tls
from tests.forks.run import DJANGO, OTHER_POOL, OURS, SILENT, Report, run_trial
from tests.mysql.scratch import scratch_on
from tests.support.certificate import can_certify, tls_options
from tests.support.server import Server

ENGINES = {
    c.PER_REQUEST: (DJANGO, ""),
    c.OTHER_POOL: (OTHER_POOL, ""),
    c.QUEUE_POOL: (OURS, "QueuePool"),
    c.OURS: (OURS, ""),
}
"""Backend and class of pool."""
LOSSES = (
    "rows lost",
    "stray rows",
    "errors in the parent",
    "sessions killed",
    "hangs",
    "child failures",
)


def run(bench: Bench) -> Result:
    forks = bench.of({c.OURS: 1000, c.QUEUE_POOL: 100}, {c.OURS: 20, c.QUEUE_POOL: 20})
    others = bench.of(40, 10)  # enough to see, and each hang takes its time
    result = Result(
        "Forks",
        "A process forks, in turn in its main thread and in another thread, while 8 threads are in "
        "the middle of transactions, of queries, of reading a result row by row, of connecting "
        "and of waiting for a connection (our default pool has 4). Children end by sys.exit(), "
        "an exception, os._exit(), a run of the garbage collector or exec, or use the database, "
        "inside and outside atomic(), also through multiprocessing and preexec_fn. Rows lost are "
        "rows whose COMMIT had succeeded. Stray rows are rows of units that were rolled back. "
        "Sessions killed are sessions that ended on the server although the parent had not "
        "closed them. A run stops after 3 hangs.",
        1,
    )
    with _server(bench) as target:
        for section, tls in (("Plain", False), ("TLS", True)):
            if tls and not offers_tls(target):
                result.notes.append("The server does not offer TLS.")
                continue
            for label, (engine, poolclass) in ENGINES.items():
                number = forks.get(label, others)
                report = _trial(target, engine, number, tls=tls, poolclass=poolclass)
                if report.failed == [SILENT]:
                    result.notes.append(f"{section}, {label}: the process itself failed or hung.")
                    continue
                figures = _figures(report)
                result.add(section, label, {name: [value] for name, value in figures.items()})
                if label == c.OURS:
                    result.comparisons += [
                        Check(f"{section}: {label}, {name}", figures[name], 0, 0) for name in LOSSES
                    ]
    return result


@contextmanager
def _server(bench: Bench) -> Iterator[Target]:
    """The server of DATABASE_URL; a MariaDB of our own where that one has no TLS."""
    with ExitStack() as stack:
        target = bench.target
        if bench.kind == "mariadb" and not offers_tls(target) and can_certify():
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(Server(*tls_options(directory)))
            target = Target.from_url(server.url)
        yield target


def _trial(target: Target, engine: str, forks: int, *, tls: bool, poolclass: str) -> Report:
    with target.admin() as admin, scratch_on(admin, target.url()) as scratch:
        return run_trial(scratch, engine, forks, tls=tls, poolclass=poolclass)


def _figures(report: Report) -> dict[str, float]:
    losses = (
        report.lost,
        report.stray,
        len(report.errors),
        report.killed,
        report.hung,
        len(report.failed),
    )
    return {
        "forks": report.forks,
        "rows committed": report.committed,
        **dict(zip(LOSSES, losses, strict=True)),
    }

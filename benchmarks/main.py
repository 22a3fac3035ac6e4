"""The command line: which cases, on which server."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import django
import MySQLdb
from django.conf import settings

from benchmarks import plots, report
from benchmarks.bench import Bench
from benchmarks.environment import environment
from benchmarks.result import Skipped
from benchmarks.server import Target, WrongAddressError, describe, scratch_database

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CASES = (
    "hot_cycle",
    "orm_requests",
    "web",
    "dirty",
    "hidden_code",
    "tls",
    "slow_work",
    "scaling",
    "fairness",
    "restart",
    "deliveries",
    "forks",
    "respawn",
    "metrics",
)


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        target = Target.from_url(os.environ.get("DATABASE_URL", ""))
        kind, server = describe(target)
    except (WrongAddressError, MySQLdb.OperationalError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    _configure()
    # Unwind: the database and child processes are not to be left behind.
    signal.signal(signal.SIGTERM, lambda signum, _frame: sys.exit(128 + signum))
    try:
        with scratch_database(target) as scratch:
            bench = Bench(scratch, kind, options.rounds, options.quick)
            ran = [_run(name, bench, server, options.results) for name in options.cases or CASES]
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0 if all(ran) else 1


def _run(name: str, bench: Bench, server: str, results: Path) -> bool:
    """Run one case and write its results; whether it ran, or had a reason not to."""
    around = environment(server)
    print(f"{name} on {bench.kind} …", flush=True)
    started = time.monotonic()
    try:
        # By name, and only now: their models need Django set up.
        result = import_module(f"benchmarks.cases.{name}").run(bench)
    except Skipped as reason:
        print(f"{name} skipped: {reason}\n", flush=True)
        return True
    except Exception:  # noqa: BLE001 - the other cases are still worth their minutes
        print(f"{name} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return False
    path = results / f"{name}-{bench.kind}"
    report.write(result, around, path, quick=bench.quick)
    if not plots.draw(result, path):
        print("no plot: pip install matplotlib")
    print(report.page(result, around, quick=bench.quick))
    print(f"({name}: {time.monotonic() - started:.0f} s)\n", flush=True)
    return True


def _configure() -> None:
    """Databases are added by the contenders."""
    quiet = {"handlers": ["null"], "propagate": False}
    settings.configure(
        BASE_DIR=ROOT,
        INSTALLED_APPS=["benchmarks"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"null": {"class": "logging.NullHandler"}},
            # What fails while a server restarts is counted, not printed line by line.
            "loggers": dict.fromkeys(("pooldaemon", "sqlalchemy", "dj_db_conn_pool"), quiet),
        },
    )
    django.setup()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Compare pooldaemon with the alternatives on the server of DATABASE_URL.",
    )
    parser.add_argument(
        "cases", nargs="*", type=_case, metavar="CASE", help=f"default: all of {', '.join(CASES)}"
    )
    parser.add_argument("--rounds", type=_count, metavar="N", help="default: what each case needs")
    parser.add_argument("--quick", action="store_true", help="only to see that everything runs")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results"
    )
    return parser


def _case(name: str) -> str:
    if name not in CASES:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(CASES)}")
    return name


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)

"""Triggers, views and functions: what harmless ones cost, and what it costs to find that out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import monotonic, perf_counter
from typing import Any

from django.db import connections

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.cases import hot_cycle, slow_work
from benchmarks.crowd import crowd
from benchmarks.measure import interleave
from benchmarks.result import Bars, Check, Result
from benchmarks.server import Target, count_work
from pooldaemon.pool.registry import registry
from tests.support.server import Admin

EMPTY, SHOP = "empty schema", "with code"
RATE = "units/s"
FIRST, LATER = "first unit, ms", "longest of the later ones, ms"
KNOWN, ASKED = "s until all is known", "questions for it"

WITHIN = 0.97
"""Of what the empty schema gives."""

LONGEST_WAIT = 20
"""Milliseconds that the first unit may wait for a large schema to be read."""

LEARNING = 60.0
"""Seconds after which it must have been read."""


def run(bench: Bench) -> Result:
    result = Result(
        "Hidden code",
        "The same units of work run in turn in an empty schema and in one with 20 views, 10 "
        "triggers that write audit rows, and 5 functions that compute. 'First units of a pool' is "
        f"measured in a schema of {bench.of(5000, 300)} tables, {bench.of(500, 30)} views and as "
        "many triggers: the duration of the first unit, and the longest of the following units "
        "until the pool has read the schema.",
        bench.rounds(10),
        plots=[Bars(hot_cycle.TIME), Bars(RATE)],
    )
    with schema_of_a_shop(bench.target) as shop:
        _measure_cycles(bench, result, shop)
        _measure_crowds(bench, result, shop)
        _measure_slow_work(bench, result, shop)
    tables, code = bench.of((5000, 500), (300, 30))
    with large_schema(bench.target, tables, code) as large:
        _measure_first_units(bench, result, large)
    return result


@contextmanager
def schema_of_a_shop(target: Target) -> Iterator[Target]:
    """20 views, 10 triggers and 5 functions, none of which leaves anything on a session."""
    with _schema(target, "shop") as (shop, admin):
        admin.query(
            "CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT, at DATETIME)"
        )
        for number in range(10):
            admin.query(f"CREATE TABLE t{number} (id INT PRIMARY KEY, a VARCHAR(50), total INT)")
            admin.query(
                f"CREATE TRIGGER g{number} AFTER INSERT ON t{number} FOR EACH ROW"
                f" INSERT INTO audit (what, at) VALUES (CONCAT('t{number} ', NEW.id), NOW())"
            )
        for number in range(5):
            admin.query(
                f"CREATE FUNCTION f{number} (a INT) RETURNS INT DETERMINISTIC BEGIN"
                " DECLARE x INT DEFAULT 1; IF a > 1 THEN SET x = a * 2; END IF; RETURN x; END"
            )
        for number in range(20):
            table = f"t{number % 10}"
            admin.query(
                f"CREATE VIEW v{number} AS SELECT id, UPPER(a) AS a, f{number % 5}(total) AS total"
                f" FROM {table} WHERE a LIKE 'x%'"
            )
        yield shop


@contextmanager
def large_schema(target: Target, tables: int, code: int) -> Iterator[Target]:
    with _schema(target, "large") as (large, admin):
        admin.query("CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT)")
        for number in range(tables):
            admin.query(f"CREATE TABLE t{number} (id INT PRIMARY KEY, a VARCHAR(50), b DATETIME)")
        for number in range(code):
            admin.query(f"CREATE VIEW v{number} AS SELECT id, UPPER(a) AS a FROM t{number}")
            admin.query(
                f"CREATE TRIGGER g{number} AFTER INSERT ON t{number} FOR EACH ROW"
                " INSERT INTO audit (what) VALUES (NEW.a)"
            )
        yield large


@contextmanager
def _schema(target: Target, name: str) -> Iterator[tuple[Target, Admin]]:
    schema = replace(target, database=f"{target.database}_{name}")
    with target.admin() as admin:
        admin.query(f"CREATE DATABASE `{schema.database}` CHARACTER SET utf8mb4")
        admin.query(f"USE `{schema.database}`")
        try:
            yield schema, admin
        finally:
            admin.query(f"DROP DATABASE `{schema.database}`")


def _both(bench: Bench, shop: Target, size: int) -> list[c.DjangoContender]:
    found = []
    for make in (c.ours, c.by_transaction):
        for target, where in ((bench.target, EMPTY), (shop, SHOP)):
            contender = make(target, size=size)
            contender.label = f"{contender.label}, {where}"
            found.append(contender)
    return found


def _measure_cycles(bench: Bench, result: Result, shop: Target) -> None:
    with c.opened(_both(bench, shop, 4), result.notes) as running:
        measure = partial(hot_cycle.time_cycles, bench.of(0.5, 0.1))
        measured = interleave(running, result.rounds, measure)
        for contender, values in zip(running, measured, strict=True):
            result.add("Hot cycle", contender.label, values)
        for contender in running:
            _check_counts(bench, result, contender)
    for mode in (c.OURS, c.BY_TRANSACTION):
        empty, with_code = f"{mode}, {EMPTY}", f"{mode}, {SHOP}"
        result.compare("Hot cycle", with_code, empty, hot_cycle.TIME, at_most=1 / WITHIN)


def _check_counts(bench: Bench, result: Result, contender: c.DjangoContender) -> None:
    cycles, before = 200, _resets(contender)

    def work() -> None:
        for _ in range(cycles):
            hot_cycle.cycle(contender)

    questions = min(count_work(bench.target, work)["Questions"] for _ in range(5)) / cycles
    name = f"{contender.label}: "
    result.comparisons.append(Check(f"{name}questions per cycle", questions, at_most=1.01))
    resets = _resets(contender) - before
    result.comparisons.append(Check(f"{name}resets", resets, at_most=0))


def _resets(contender: c.DjangoContender) -> int:
    wrapper: Any = connections[contender.alias]
    return int(wrapper.pool.stats().resets)


def _measure_crowds(bench: Bench, result: Result, shop: Target) -> None:
    _measure_rates(
        bench, result, shop, "Fairness: 64 threads on 4 connections", 4,
        lambda contender: crowd(contender, 64, bench.of(5.0, 1.0), "SELECT 1").figures(),
    )  # fmt: skip


def _measure_slow_work(bench: Bench, result: Result, shop: Target) -> None:
    _measure_rates(
        bench, result, shop, "Slow work: 64 threads on 8 connections", 8,
        lambda contender: slow_work.work(64, bench.of(5.0, 1.0), contender),
    )  # fmt: skip


def _measure_rates(
    bench: Bench, result: Result, shop: Target, section: str, size: int, measure: Any
) -> None:
    with c.opened(_both(bench, shop, size), result.notes) as running:
        measured = interleave(running, max(2, result.rounds // 3), measure)
        for contender, values in zip(running, measured, strict=True):
            result.add(section, contender.label, values)
    for mode in (c.OURS, c.BY_TRANSACTION):
        empty, with_code = f"{mode}, {EMPTY}", f"{mode}, {SHOP}"
        result.compare(section, with_code, empty, RATE, at_least=WITHIN)


def _measure_first_units(bench: Bench, result: Result, large: Target) -> None:
    section = "First units of a pool"
    for label, target in (("small schema", bench.target), ("large schema", large)):
        rounds = [_first_units(target, bench.of(3.0, 1.0)) for _ in range(bench.of(7, 2))]
        columns = {name: [each[name] for each in rounds] for name in rounds[0]}
        result.add(section, label, columns)
    small, big = (
        result.measure(section, label, FIRST).median for label in ("small schema", "large schema")
    )
    name = "the first unit waits for the large schema, ms"
    result.comparisons.append(Check(name, max(big - small, 0.0), at_most=LONGEST_WAIT))
    longest = max(result.measure(section, "large schema", LATER).values)
    name = "the longest of the later ones, ms, worst round"
    result.comparisons.append(Check(name, longest, at_most=LONGEST_WAIT))


def _first_units(target: Target, seconds: float) -> Mapping[str, float]:
    """A pool's first unit, and those after it for *seconds*, or until it knows all."""
    registry.forget_process_settings()  # and the pools, with what they know
    contender = c.ours(target, size=2)
    times = []

    def work() -> float:
        start = monotonic()
        known = 0.0
        while not known or monotonic() - start < seconds:
            began = perf_counter()
            contender.query("SELECT 1")
            contender.done()
            times.append(perf_counter() - began)
            dialect: Any = connections[contender.alias].pool.dialect  # type: ignore[attr-defined]
            if not known and dialect.side_effects.answer.suspects is not None:
                known = monotonic() - start
            if monotonic() - start > LEARNING:
                raise RuntimeError(f"the schema was not read within {LEARNING:g} s")
        return known

    known: list[float] = []
    asked = count_work(target, lambda: known.append(work()))["Questions"] - len(times)
    contender.close()
    first, *later = times
    return {FIRST: first * 1000, LATER: max(later) * 1000, KNOWN: known[0], ASKED: asked}

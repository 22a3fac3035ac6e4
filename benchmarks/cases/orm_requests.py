"""Requests of 1, 10 and 50 ORM queries: what is left of a pool's cost in real work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from django.db import connections
from django.utils import timezone

from benchmarks import contenders as c
from benchmarks.bench import Bench
from benchmarks.measure import interleave, time_each, typical
from benchmarks.models import ROWS, Note
from benchmarks.result import Bars, Result

QUERIES = (1, 10, 50)
TIME = "µs per request"


def run(bench: Bench) -> Result:
    rounds = bench.rounds(20)
    result = Result(
        "Requests of ORM queries",
        "In one thread, a request consists of several Model.objects.get(pk=…), each with its own "
        "query, and Django's normal end of a request.",
        rounds,
        plots=[Bars(TIME)],
    )
    everybody = [*c.field(bench.target, size=4), c.by_transaction(bench.target, size=4)]
    with c.opened(everybody, result.notes) as running, notes_table(running[0]):
        for queries in QUERIES:
            measured = interleave(running, rounds, partial(_time, bench.of(0.2, 0.05), queries))
            section = section_name(queries)
            for contender, values in zip(running, measured, strict=True):
                result.add(section, contender.label, values)
            for other in (c.PERSISTENT, c.PER_REQUEST, c.OTHER_POOL, c.QUEUE_POOL):
                result.compare(section, c.OURS, other, TIME)
            at_most = 1.1 if queries == 10 else None
            result.compare(section, c.BY_TRANSACTION, c.PERSISTENT, TIME, at_most=at_most)
    return result


def section_name(queries: int) -> str:
    return f"{queries} queries" if queries > 1 else "1 query"


def _time(seconds: float, queries: int, contender: c.DjangoContender) -> Mapping[str, float]:
    def request() -> None:
        notes = Note.objects.using(contender.alias)
        for number in range(queries):
            notes.get(pk=1 + number % ROWS)
        contender.done()

    return {TIME: typical(time_each(seconds, request))}


@contextmanager
def notes_table(contender: c.DjangoContender) -> Iterator[None]:
    """The table of notes, with its rows, through a contender's connection."""
    with connections[contender.alias].schema_editor() as editor:
        editor.create_model(Note)
    now = timezone.now()
    notes = [Note(pk=n, title=f"Note {n}", written_at=now) for n in range(1, ROWS + 1)]
    Note.objects.using(contender.alias).bulk_create(notes)
    try:
        yield
    finally:
        with connections[contender.alias].schema_editor() as editor:
            editor.delete_model(Note)

"""A web application under load: what its server and its pool make of 100 clients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks import contenders as c
from benchmarks import sites, wrk
from benchmarks.bench import Bench
from benchmarks.cases.orm_requests import QUERIES, notes_table, section_name
from benchmarks.measure import interleave
from benchmarks.result import Panels, Ratio, Result, Skipped

CLIENTS = 100
SIZE = sites.THREADS // 3
"""Connections of each pool."""

SECONDS = 10
"""Of each measurement. Under ASGI up to all clients' requests are half done when it ends."""

RATE = "requests/s"
SLOW = "99 % latency, ms"
SESSIONS = "sessions"
PROCESSOR = "processor ms per request"
ERRORS = "errors"


def run(bench: Bench) -> Result:
    wrk.require()
    if find_spec("uvicorn") is None:
        raise Skipped("it needs uvicorn: pip install uvicorn")
    rounds = bench.rounds(3)
    result = Result(
        "A web application",
        f"{CLIENTS} HTTP clients (wrk), each on a connection that it keeps, request a page of a "
        "Django site as fast as they are answered. A request consists of several "
        "Model.objects.get(pk=…), each with its own query. gunicorn runs one worker of class "
        f"gthread with {sites.THREADS} threads, uvicorn one process. Each pool has {SIZE} "
        "connections. The server is started anew for each round and warmed up. Requests with "
        "another status than 2xx, or without an answer, are errors and do not count as requests. "
        "Sessions are the most that were seen in the server's processlist, 20 times a second. "
        "Processor time is that of all processes of the web server, in user and system mode. "
        "Clients, web server and database server share the machine.",
        rounds,
        notes=[
            (
                "Under ASGI Django runs the synchronous code of each request, such as this view, "
                "in a thread of its own (asgiref's ThreadSensitiveContext), which ends with the "
                "request. A connection belongs to its thread. So with CONN_MAX_AGE=None no "
                "request finds a connection of an earlier one: each logs in, and what it leaves "
                "open stays open until Python frees the objects of the thread that has ended. "
                "Django's documentation says to disable persistent connections under ASGI. If "
                "there are more sessions than the server allows, requests fail. So uvicorn's "
                "figures are compared with Django, per request."
            )
        ],
        plots=[Panels(RATE, SESSIONS, across=2)],
    )
    databases = c.project_settings(bench.target, SIZE)
    # Its own connection is closed at the end of each unit and is not seen among the sessions.
    with c.opened([c.per_request(bench.target)], result.notes) as (maker,), notes_table(maker):
        maker.done()
        for queries in QUERIES:
            for server in sites.COMMANDS:
                _measure(bench, result, server, queries, databases)
                _compare(result, server, queries)
    return result


def _section(server: str, queries: int) -> str:
    return f"{server}, {section_name(queries)}"


def _measure(
    bench: Bench,
    result: Result,
    server: str,
    queries: int,
    databases: Mapping[str, Mapping[str, Any]],
) -> None:
    measure = partial(_load, bench, server, queries)
    measured = interleave(list(databases.values()), result.rounds, measure)
    for label, values in zip(databases, measured, strict=True):
        result.add(_section(server, queries), label, values)


def _load(
    bench: Bench, server: str, queries: int, settings: Mapping[str, Any]
) -> Mapping[str, float]:
    with sites.started(server, settings, bench.target) as site:
        url = f"{site.url}{queries}"
        wrk.ask(url, CLIENTS, 1, lambda: None)  # threads and connections are there from now on
        site.settle()
        seen: list[int] = []
        before = site.processor_time()
        answers = wrk.ask(url, CLIENTS, bench.of(SECONDS, 3), lambda: seen.append(site.sessions()))
        used = site.processor_time() - before
    return {
        RATE: answers.good / answers.seconds,
        SLOW: answers.slow * 1000,
        SESSIONS: max(seen),
        PROCESSOR: used / max(answers.good, 1) * 1000,
        ERRORS: answers.errors,
    }


def _compare(result: Result, server: str, queries: int) -> None:
    section = _section(server, queries)
    other, at_least = (c.PERSISTENT, 1.0) if server == sites.GUNICORN else (c.PER_REQUEST, None)
    for ours in (c.OURS, c.BY_TRANSACTION):
        result.compare(section, ours, other, RATE, at_least=at_least)
    for ours in (c.OURS, c.BY_TRANSACTION):
        over, under = (result.measure(section, row, SESSIONS) for row in (ours, other))
        name = f"{section}, sessions: {ours} / {other}"
        result.comparisons.append(Ratio(name, over, under, at_most=1 / 3))

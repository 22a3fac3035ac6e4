"""Units of work, each with one habit."""

import asyncio
import ctypes
import datetime
import importlib
import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from typing import Any

from django.db import connection, transaction

from pooldaemon.workers.worker.context import WorkContext
from tests.lifecycle.project import code
from tests.lifecycle.project.journal import journal

not_callable = 42

logger = logging.getLogger("project")

_numbers = itertools.count(1)


def idle(ctx: WorkContext) -> None:
    journal().note("unit")


def log(ctx: WorkContext) -> None:
    logger.error("a line of the project's own")
    journal().note("unit")


def log_number(ctx: WorkContext) -> None:
    number = next(_numbers)
    logger.error("number %d of %d ends here", number, os.getpid())
    journal().note("logged", number=number)


def ask(ctx: WorkContext) -> None:
    """One question, and the session that answered."""
    session = "CONNECTION_ID()" if connection.vendor == "mysql" else "1"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {session}")
        (answer,) = cursor.fetchone()
    journal().note("asked", session=answer)


def tell_when_asked(ctx: WorkContext) -> None:
    """When the pool's knowledge of hidden code was asked for, by whomever."""
    connection.ensure_connection()
    journal().note("believes", asked=connection.pool.dialect.side_effects.answer.asked)


def use_connection(ctx: WorkContext) -> bool:
    """Keep a session busy for a moment; there is always more to do."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        time.sleep(0.005)
    journal().note("used")
    return True


_grown: list[bytes] = []


def grow(ctx: WorkContext) -> bool:
    """The same, and need more memory each time."""
    _grown.append(b"x" * 2**23)
    return use_connection(ctx)


def hold(ctx: WorkContext) -> None:
    """Hold a connection, and finish when the test says so."""
    connection.ensure_connection()
    journal().note("started")
    journal().wait_for_gate()
    journal().note("finished")


def wait(ctx: WorkContext) -> None:
    journal().note("started")
    journal().note("waited", stopping=ctx.wait(60), seen=ctx.stopping)


def raise_in_atomic(ctx: WorkContext) -> None:
    journal().note("failing")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO entry VALUES (1)")
        raise LookupError("the unit's own mistake")


def raise_in_open_transaction(ctx: WorkContext) -> None:
    journal().note("failing")
    transaction.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO entry VALUES (1)")
    raise LookupError("the unit's own mistake")


def fail_once(ctx: WorkContext) -> None:
    """The first unit fails while it holds a connection; later ones use what it returned."""
    if journal().events("failing"):
        ask(ctx)
    else:
        raise_in_atomic(ctx)


def exit_process(ctx: WorkContext) -> None:
    journal().note("failing")
    sys.exit("the unit leaves")


def interrupt(ctx: WorkContext) -> None:
    journal().note("failing")
    raise KeyboardInterrupt("the unit's own")


def cancel(ctx: WorkContext) -> None:
    """What ``async_to_sync`` raises when its task is cancelled: not an ``Exception``."""
    journal().note("failing")
    raise asyncio.CancelledError("the unit's own")


def tell_version(ctx: WorkContext) -> None:
    journal().note("began", version=code.version)
    time.sleep(0.02)
    journal().note("ended", version=code.version)


def query_in_version(ctx: WorkContext) -> bool:
    """There is always more to do."""
    journal().note("began", version=code.version)
    with connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(0.02)")
    journal().note("ended", version=code.version)
    return True


def tell_version_of_module(ctx: WorkContext) -> None:
    journal().note("began", version=importlib.import_module("changing").version)


def leave_orphan(ctx: WorkContext) -> None:
    """The shell ends at once; what it has started is inherited by the first process."""
    subprocess.run(["sh", "-c", "sleep 0.1 &"], check=True)
    journal().note("unit")


def tell_progress(ctx: WorkContext) -> None:
    for done in range(31):
        ctx.progress(done, 120)
    journal().note("started")
    journal().wait_for_gate()


def log_and_report_progress(ctx: WorkContext) -> None:
    for number in range(1, 41):
        logger.error("line %d of %s ends here", number, ctx.name)
        ctx.progress(number, 40)
        time.sleep(0.03)
    journal().note("logged")
    journal().wait_for_gate()


def die(ctx: WorkContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold_gil_once(ctx: WorkContext) -> None:
    """Hang in C, so that no other thread gets on either."""
    if journal().events("holding"):
        idle(ctx)
        return
    journal().note("holding")
    ctypes.PyDLL(None).sleep(60)


def query_for_long_once(ctx: WorkContext) -> None:
    """One thread waits for the server, once; the others have short units."""
    notes = journal()
    if ctx.name == "worker-1/thread-1" and not notes.events("asking"):
        notes.note("asking")
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(60)")
        finally:
            notes.note("broken off")
    else:
        notes.note("started")
        time.sleep(0.2)
        notes.note("finished")


def update_both_rows(ctx: WorkContext) -> bool:
    """Two threads that begin at different ends meet in a deadlock."""
    if journal().events("updated", thread=ctx.name):
        return False
    order = (1, 2) if ctx.name.endswith("1") else (2, 1)
    with transaction.atomic(), connection.cursor() as cursor:
        for number in order:
            cursor.execute("UPDATE entry SET times = times + 1 WHERE number = %s", [number])
            journal().note("holding", row=number)
            _wait_for(lambda: len({e["thread"] for e in journal().events("holding")}) == 2, ctx)
    journal().note("updated")
    return True


def lock_and_query_for_long(ctx: WorkContext) -> None:
    """The server would end one long sleep by itself: it looks after its client every 5 s."""
    if journal().events("locked"):
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM entry FOR UPDATE")
        journal().note("locked")
        cursor.execute("SELECT " + " + ".join(["SLEEP(4)"] * 15))


def take_job() -> tuple[int, str] | None:
    """The next job, marked as taken."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, task FROM job WHERE taken = 0 ORDER BY id LIMIT 20")
        for number, task in cursor.fetchall():
            cursor.execute("UPDATE job SET taken = 1 WHERE id = %s AND taken = 0", [number])
            if cursor.rowcount == 1:
                return number, task
    return None


def add_job(task: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO job (task, taken) VALUES (%s, 0)", [task])


def work_off_tree(ctx: WorkContext) -> bool:
    """A job of height n makes two of height n - 1."""
    if (job := take_job()) is None:
        return False
    if height := int(job[1]):
        add_job(str(height - 1))
        add_job(str(height - 1))
    journal().note("done", job=job[0])
    return True


def work_in_turns(ctx: WorkContext) -> bool:
    """Job *first* makes *second* for the other worker, which makes *third*.

    *second* is still running when the worker of *first* has found nothing more.
    """
    notes = journal()
    if (job := take_job()) is None:
        notes.note("nothing")
        return False
    notes.note("taken", task=job[1])
    if job[1] == "first":
        _wait_for(lambda: _looks_of_others() >= 2, ctx)
        add_job("second")
        _wait_for(lambda: bool(notes.events("taken", task="second")), ctx)
    elif job[1] == "second":
        before = _looks_of_others()
        _wait_for(lambda: _looks_of_others() >= before + 3, ctx)
        add_job("third")
    notes.note("done", task=job[1])
    return True


def _looks_of_others() -> int:
    own = journal().events("taken")[-1]["pid"]
    return sum(event["pid"] != own for event in journal().events("nothing"))


def _wait_for(condition: Any, ctx: WorkContext) -> None:
    while not condition() and not ctx.stopping:
        ctx.wait(0.01)


def due_later(ctx: WorkContext) -> datetime.timedelta | bool:
    """One job that becomes due half a second after the first look."""
    notes = journal()
    if notes.events("done"):
        return False
    notes.note("look")
    left = notes.events("look")[0]["time"] + 0.5 - time.monotonic()
    if left > 0:
        return datetime.timedelta(seconds=left)
    notes.note("done")
    return True


def count(ctx: WorkContext) -> bool:
    """Hold a connection for a while, and report how far it is."""
    journal().note("started")
    with connection.cursor() as cursor:
        for done in range(61):
            cursor.execute("SELECT 1")
            ctx.progress(done, 60)
            if ctx.wait(0.05):
                break
    return True

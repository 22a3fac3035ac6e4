"""Greenlets take turns on the connections of a pool; a program for a process that is patched."""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction

from pooldaemon import auto_close_db, pool_stats
from tests.mysql.scratch import Account

database = Account.from_url(os.environ["DATABASE_URL"])
pool_settings = {"pool_size": 2, "timeout": 20}
settings.configure(
    INSTALLED_APPS=["pooldaemon"],
    DATABASES={"default": database.settings(OPTIONS={"pool": pool_settings})},
)
django.setup()

beats: list[float] = []
done: list[int] = []
errors: list[str] = []


def heart() -> None:
    while True:
        time.sleep(0.001)
        beats.append(time.monotonic())


def ask(sql: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        answer: int | None = cursor.fetchone()[0]
    return answer


@auto_close_db
def unit(number: int) -> None:
    assert ask("SELECT @number") is None
    with connection.cursor() as cursor:
        cursor.execute("SET @number = %s", [number])
    with transaction.atomic():
        session = ask("SELECT CONNECTION_ID()")
        time.sleep(0.01)
        assert ask("SELECT CONNECTION_ID()") == session
    assert ask("SELECT @number") == number
    done.append(number)


def checked_unit(number: int) -> None:
    try:
        unit(number)
    except Exception as error:  # noqa: BLE001 - the test reads it
        errors.append(f"{type(error).__name__}: {error}")


def take_turns(spawn: Callable[..., Any]) -> None:
    spawn(heart)
    for greenlet in [spawn(checked_unit, number) for number in range(20)]:
        greenlet.join()


def be_killed(spawn: Callable[..., Any]) -> None:
    """Waiting, in the middle of a unit, before it has begun, after it has ended."""
    greenlets = []
    for number in range(100):
        greenlets.append(spawn(checked_unit, number))
        time.sleep(0.002)
        random.choice(greenlets).kill(block=False)
    for greenlet in greenlets:
        greenlet.join()


def end_holding(spawn: Callable[..., Any]) -> None:
    for _ in range(6):
        spawn(ask, "SELECT 7").join()


def main(spawn: Callable[..., Any]) -> None:
    """Perform each step and write what came of it as JSON."""
    try:
        auto_close_db(ask)("SELECT 7")
    except ImproperlyConfigured as error:
        sys.exit(f"refused: {error}")
    results = {}
    for step in (take_turns, be_killed, end_holding):
        done.clear()
        step(spawn)
        (pool,) = pool_stats()
        results[step.__name__] = {
            "done": len(done),
            "beats": len(beats),
            "errors": errors,
            "peak": pool.peak,
            "in_use": pool.in_use,
            "waiting": pool.waiting,
            "timeouts": pool.timeouts,
        }
    json.dump(results, sys.stdout)

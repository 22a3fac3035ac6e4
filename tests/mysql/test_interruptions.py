"""An exception at every line of a unit of work: no place is lost, the thread is outside of a unit.

INTERRUPT_EVERY=1: at each line in both modes, which takes a minute; else at each so many of them.
"""

import logging
import os
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from django.db import connections, transaction

import pooldaemon.backends.base
from pooldaemon import auto_close_db, pool_stats
from pooldaemon.connections import _thread
from tests.mysql.conftest import AddDatabase
from tests.unit import interruptions
from tests.unit.fakes import Task
from tests.unit.interruptions import Actor, interrupt

EVERY = int(os.environ.get("INTERRUPT_EVERY", "7"))


@pytest.fixture(autouse=True)
def _places(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        interruptions, "PLACES", (*interruptions.PLACES, pooldaemon.backends.base.__file__)
    )
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def ask(alias: str, statement: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


# A frame that is interrupted drops its socket object, which closes the socket and warns of that.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_an_exception_at_any_line_of_a_unit_loses_no_place(
    add_pooled: AddDatabase, mode: str
) -> None:
    alias = add_pooled(mode=mode, pool_size=2, timeout=2)
    inside: list[int] = []

    @auto_close_db
    def unit() -> None:
        ask(alias, "SELECT 1")
        with transaction.atomic(alias):
            ask(alias, "SELECT 2")
        ask(alias, "SELECT @a := 1")

    def act() -> None:
        try:
            unit()
        finally:
            inside.append(len(_thread.units))

    wrong = []
    auto_close_db(ask)(alias, "SELECT 0")
    for number in count(0, EVERY):
        if number % (2 * EVERY) == 0:  # the session is then opened in the unit, too
            connections[alias].pool.close()  # type: ignore[attr-defined]
        actor = Actor(act, number, interrupt)
        actor.wait()
        place = actor.interruption.place
        if place is not None and not is_interrupt(actor.kept):
            wrong.append(f"{place}: {actor.kept!r}")
        actor.kept = None
        try:
            check(alias)
            (stats,) = pool_stats()
            assert (stats.in_use, stats.waiting) == (0, 0)
            assert inside == [0]
        except Exception as error:  # noqa: BLE001 - all of them are reported
            wrong.append(f"{place}: {type(error).__name__} {error}"[:300])
        inside.clear()
        actor.end()
        if place is None:
            break
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)


def is_interrupt(error: BaseException | None) -> bool:
    """Or one that it has brought about while it passed."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def check(alias: str) -> None:
    """Both places can be had at the same time, and sessions are in order."""

    @auto_close_db
    def nested() -> None:
        with transaction.atomic(alias):
            assert ask(alias, "SELECT 3") == (3,)
            assert Task(auto_close_db(ask), alias, "SELECT @a").result() == (None,)

    Task(nested).result()

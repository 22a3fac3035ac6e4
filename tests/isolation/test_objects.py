"""Schemas that nobody thought of: what statements leave that name views, functions and triggers.

FUZZ_SCHEMAS=500 makes that many, other ones each time; by default some, the same ones each time.
FUZZ_SEED repeats a run, and FUZZ_FIRST goes on with one from that schema.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random, SystemRandom
from typing import Any

import pytest
from django.db import Error as DjangoError

from pooldaemon.pool.drivers.mysql.sql import side_effects
from pooldaemon.testing.poll import wait_until
from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool, prepared_scratch
from tests.isolation.fuzz.batches import Fuzz
from tests.isolation.fuzz.objects import Objects
from tests.isolation.fuzz.schema import judges_by, suspects_of
from tests.isolation.fuzz.watched import Kind, Statement, Watched
from tests.isolation.fuzz.writer import Writer
from tests.isolation.ways import WAYS
from tests.mysql.scratch import Scratch
from tests.support.mode import MODES

logger = logging.getLogger(__name__)

BY_HAND = not {"FUZZ_SCHEMAS", "FUZZ_SEED"}.isdisjoint(os.environ)

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0 if BY_HAND else 600)]

SCHEMAS = int(os.environ.get("FUZZ_SCHEMAS", "12"))
SECONDS = float("inf") if BY_HAND else 15.0
SEED = os.environ.get("FUZZ_SEED") or (f"{SystemRandom().getrandbits(32):x}" if BY_HAND else "ci")
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
SIZE = 300
"""Statements for each schema."""


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    yield from prepared_scratch()


@pytest.fixture
def objects(scratch: Scratch, mariadb: bool) -> Iterator[Objects]:
    objects = Objects(Random(), scratch, mariadb=mariadb)
    try:
        yield objects
    finally:
        objects.restore()
        objects.remove()


def a_schema_of(objects: Objects, random: Random, name: str) -> Writer:
    """Make the schema of this name; what writes statements for it."""
    random.seed(name)
    objects.restore()
    objects.make(24)
    return Writer(objects.rules(), random)


def test_what_is_called_clean_leaves_nothing_whatever_it_names(
    objects: Objects, scratch: Scratch, mariadb: bool
) -> None:
    random = objects.random
    made: dict[str, int] = {"view": 0, "function": 0, "table": 0}
    ran = clean = written = 0
    until = time.monotonic() + SECONDS

    def open_session(kind: Kind) -> Watched:
        return Watched(scratch.account, kind, mariadb=mariadb, fill=())

    for number in range(FIRST, FIRST + SCHEMAS):
        writer = a_schema_of(objects, random, f"{SEED}/{number}")
        for one in objects.made:
            made[one.kind] += 1
        for late in (False, True):
            if late:
                objects.change()
            suspects = suspects_of(scratch.account, mariadb=mariadb)
            judges = judges_by(suspects)

            def write(writer: Writer = writer) -> Statement:
                return Statement(writer.spell(writer.write("<naming>", budget=10)))

            fuzz = Fuzz(random, write, judges, open_session, mariadb=mariadb)
            fuzz.run(f"{SEED}/{number}/{late}", SIZE)
            tally = fuzz.tally
            assert not tally.leaks, "\n".join([*map(str, tally.leaks), str(suspects)])
            ran, clean, written = ran + tally.count.ran, clean + tally.clean, written + SIZE
        if time.monotonic() > until:
            break
    logger.info(
        "seed %s: %s made, %d statements, %d clean, %d executed", SEED, made, written, clean, ran
    )
    assert min(made.values()) > 0
    assert ran > written / 20, "hardly any was executed"


LOOK = "SELECT @leak IS NOT NULL OR RELEASE_ALL_LOCKS() > 0 OR @@div_precision_increment = 9{more}"
SAME_MOMENT = 0.05


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_behind_in_a_pool(
    objects: Objects,
    scratch: Scratch,
    open_pool: OpenPool,
    mariadb: bool,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_effects, "REFRESH", 0.0)
    look = LOOK.format(more=" OR LASTVAL(s) IS NOT NULL" if mariadb else "")
    random = objects.random
    until = time.monotonic() + SECONDS / 2
    for number in range(FIRST, FIRST + SCHEMAS):
        writer = a_schema_of(objects, random, f"{SEED}/{mode}/{number}")
        pool = open_pool(scratch=scratch, mode=mode, ping_after=100 + number)
        for late in (False, True):
            if late:
                objects.change()
                for _ in range(20):  # what nobody knows of yet may leave something …
                    run(pool, writer.spell(writer.write("<naming>", budget=6)), prepared=False)
                use_until_it_is_known(pool)  # … until then
                assert not pool.fetch(look), (SEED, mode, number)
            for _ in range(40):
                statement = writer.spell(writer.write("<naming>", budget=6))
                run(pool, statement, prepared=random.random() < 0.1)
                assert not pool.fetch(look), (SEED, mode, number, statement)
        pool.close()
        if time.monotonic() > until:
            break


def run(pool: Pooled, statement: str, *, prepared: bool) -> None:
    with suppress(DjangoError, UnicodeError), pool.borrowed() as connection:
        WAYS["prepared" if prepared else "plain"](connection, statement)


def use_until_it_is_known(pool: Pooled) -> None:
    """Until the pool has asked for what others have done by now."""
    known: Any = pool.connection.pool._pool._dialect.side_effects  # type: ignore[attr-defined]
    changed = time.monotonic()

    def is_known() -> bool:
        pool.run("SELECT 1")
        return bool(known.answer.asked > changed)

    wait_until(is_known, 20, "the pool does not ask again")

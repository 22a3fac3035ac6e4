"""Statements that nobody thought of.

FUZZ_STATEMENTS=3000000 writes that many, other ones each time; by default some, the same ones each
time. FUZZ_SEED repeats a run, and FUZZ_FIRST goes on with one from that batch. FUZZ_EXAMPLES=5000
is for those that are sent through a pool, of which each takes milliseconds.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random, SystemRandom
from typing import Any

import pytest
from django.db import Error as DjangoError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from MySQLdb import Error as DriverError

from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool
from tests.isolation.fuzz.batches import SIZE, Author, Fuzz, Judge, Judges
from tests.isolation.fuzz.schema import judges_by, schema, suspects_of
from tests.isolation.fuzz.watched import Count, Kind, Statement, Watched
from tests.isolation.grammar import statements
from tests.isolation.state import State, differences, observe
from tests.isolation.ways import WAYS
from tests.mysql.scratch import Scratch

logger = logging.getLogger(__name__)

BY_HAND = not {"FUZZ_STATEMENTS", "FUZZ_EXAMPLES", "FUZZ_SEED"}.isdisjoint(os.environ)

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0 if BY_HAND else 600)]

STATEMENTS = int(os.environ.get("FUZZ_STATEMENTS", "30000"))
SECONDS = float("inf") if BY_HAND else 15.0
"""A busy machine writes fewer."""
SEED = os.environ.get("FUZZ_SEED") or (f"{SystemRandom().getrandbits(32):x}" if BY_HAND else "ci")
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
TOLD_EVERY = 100  # batches
MOST_LEAKS = 20

MakeFuzz = Callable[[Judges], Fuzz]


@pytest.fixture(scope="module")
def make_fuzz(plain: Scratch, mariadb: bool) -> Iterator[MakeFuzz]:
    with schema(plain, mariadb=mariadb) as name:

        def make(judges: Judges) -> Fuzz:
            def open_session(kind: Kind) -> Watched:
                return Watched(plain.account, kind, mariadb=mariadb)

            random = Random()
            write = Author(random, name).statement
            return Fuzz(random, write, judges, open_session, mariadb=mariadb)

        yield make


@pytest.fixture(scope="module")
def judges(plain: Scratch, mariadb: bool, make_fuzz: MakeFuzz) -> Judges:
    return judges_by(suspects_of(plain.account, mariadb=mariadb))


def test_what_is_called_clean_leaves_nothing(make_fuzz: MakeFuzz, judges: Judges) -> None:
    fuzz = make_fuzz(judges)
    until = time.monotonic() + SECONDS
    for number in range(FIRST, FIRST + max(1, STATEMENTS // SIZE)):
        try:
            fuzz.run(f"{SEED}/{number}")
        except DriverError as error:
            error.add_note(f"batch {SEED}/{number}, sessions lost: {dict(fuzz.tally.lost)}")
            raise
        if number % TOLD_EVERY == TOLD_EVERY - 1:
            logger.info("up to batch %s/%d: %s", SEED, number, fuzz.tally)
        if len(fuzz.tally.leaks) > MOST_LEAKS or time.monotonic() > until:
            break
    logger.info("seed %s: %s", SEED, fuzz.tally)
    assert not fuzz.tally.leaks, "\n".join(map(str, fuzz.tally.leaks))
    assert fuzz.tally.count.ran > fuzz.tally.written / 20, "hardly any was executed"


def with_comments_that_are_run(judge: Judge) -> Judge:
    return lambda text: judge(text) or (isinstance(text, str) and judge(text.replace("/*!", "/*")))


def with_escapes(judge: Judge) -> Judge:
    return lambda text: judge(text) or (isinstance(text, str) and judge(text.replace("\\", "x")))


def with_a_built_in_too_many(judge: Judge) -> Judge:
    def judge_all(text: str | bytes) -> Any:
        if judge(text) or isinstance(text, bytes):
            return judge(text)
        return judge(text.lower().replace("last_insert_id", "lower"))

    return judge_all


@pytest.mark.parametrize(
    "hole", [with_comments_that_are_run, with_escapes, with_a_built_in_too_many]
)
def test_a_hole_is_found(
    make_fuzz: MakeFuzz, judges: Judges, hole: Callable[[Judge], Judge]
) -> None:
    fuzz = make_fuzz({only_ascii: hole(judge) for only_ascii, judge in judges.items()})
    for number in range(200):
        fuzz.run(f"hole/{number}")
        if fuzz.tally.leaks:
            return
    pytest.fail(f"not found: {fuzz.tally}")


LEFT = (
    "SET @leak = 1", "SELECT @leak := 1", "SELECT GET_LOCK('leak', 0)",
    "PREPARE leak FROM 'SELECT 1'",
    "SET SESSION div_precision_increment = 9", "CREATE TEMPORARY TABLE leak_temporary (a INT)",
    "HANDLER t OPEN", "USE information_schema", "SET NAMES latin1",
    "LOCK TABLES fuzzed WRITE, t READ",
    "SET autocommit = 0", "SELECT leave_it()", "START TRANSACTION", "SET ROLE NONE", "DO 1",
    "SELECT LAST_INSERT_ID()", "SELECT @@identity", "SELECT FOUND_ROWS()", "SELECT ROW_COUNT()",
    "INSERT INTO fuzzed (a) VALUES (LAST_INSERT_ID())",
)  # fmt: skip
LEFT_ON_MARIADB = (
    "SELECT NEXTVAL(s)",
    "SELECT NEXT VALUE FOR s",
    "SET STATEMENT sql_notes = 0 FOR DO 1",
)


@pytest.mark.parametrize("sql_mode", ["", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "ORACLE"])
@pytest.mark.usefixtures("make_fuzz")
def test_what_is_left_is_seen(plain: Scratch, mariadb: bool, sql_mode: str) -> None:
    if sql_mode == "ORACLE" and not mariadb:
        pytest.skip("MariaDB's")
    unseen = []
    for statement in LEFT + (LEFT_ON_MARIADB if mariadb else ()):
        for autocommit in (True, False):
            session = Watched(plain.account, Kind("latin1", sql_mode, autocommit), mariadb=mariadb)
            assert not session.differences_after([Statement("SELECT a FROM t")], Count())
            try:
                found: Any = session.differences_after([Statement(statement)], Count())
            except DriverError as error:  # so much is left that one can't even look
                found = error
            session.close()
            if not found:
                unseen.append(statement)
    assert unseen == []


# -- through a pool ----------------------------------------------------------------------

fuzzing = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "70")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    # To make a finding smaller takes minutes: for who looks for some, not for CI.
    phases=tuple(Phase) if "FUZZ_EXAMPLES" in os.environ else (Phase.generate,),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# Those that take several statements one after the other, and fail cleanly on nonsense.
FUZZED_WAYS = (
    "plain", "in bytes", "with parameters", "executemany", "cursor left open", "raw cursor",
    "raw unbuffered cursor", "driver's query, result unread", "without autocommit",
)  # fmt: skip


@pytest.fixture
def small_tables(plain: Scratch) -> Any:
    """Empties now and then what the fuzzer fills."""
    calls = 0

    def empty() -> None:
        nonlocal calls
        calls += 1
        if calls % 20 == 0:
            plain.admin.query(f"DELETE FROM {plain.account.name}.fuzzed")

    return empty


def left_behind(pool: Pooled, pristine: State, *, mariadb: bool) -> dict[str, Any]:
    try:
        with pool.borrowed() as connection:
            found = differences(pristine, observe(connection, mariadb=mariadb))
    except DjangoError as error:
        found = {"it can't even be looked at": ("", error)}
    if found:
        pool.close()  # the next example begins with a new session
    return found


def test_after_any_borrower_the_session_is_as_new(
    open_pool: OpenPool, pristine: State, mariadb: bool, small_tables: Any
) -> None:
    pool = open_pool()

    @fuzzing
    @given(st.lists(st.tuples(st.sampled_from(FUZZED_WAYS), statements()), min_size=1, max_size=3))
    def check(borrower: list[tuple[str, str]]) -> None:
        small_tables()
        with pool.borrowed() as connection:
            for way, statement in borrower:
                with suppress(DjangoError, DriverError, UnicodeError, TypeError):
                    WAYS[way](connection, statement)
        assert left_behind(pool, pristine, mariadb=mariadb) == {}

    check()

"""Whatever threads do in transaction mode, each result is the one on Django's backend.

MODEL_EXAMPLES=5000 tries that many, other ones each time; by default some, the same ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from django.db import Error, connections, models, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pooldaemon.exceptions import EarlierStatementError
from tests.mysql.scratch import Scratch, scratch_on
from tests.support.server import Admin
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE

LONG = "MODEL_EXAMPLES" in os.environ
THREADS = 3

pytestmark = pytest.mark.timeout(0 if LONG else 600)

modelling = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "60")),
    derandomize=not LONG,
    database=None,
    # To make a finding smaller takes minutes: for who looks for some, not for CI.
    phases=tuple(Phase) if LONG else (Phase.generate,),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def make_model(number: int) -> Any:
    """A table that only one thread writes: nobody waits for a lock."""
    meta = type("Meta", (), {"app_label": "model_test", "db_table": f"rows{number}"})
    fields = {"value": models.IntegerField(unique=True), "Meta": meta, "__module__": __name__}
    return type(f"Row{number}", (models.Model,), fields)


ROWS = [make_model(number) for number in range(THREADS)]


class Undo(Exception):
    """Ends an atomic block."""


class Side:
    """What one thread does on one database."""

    def __init__(self, alias: str, thread: int) -> None:
        self.alias = alias
        self.thread = thread
        self.rows = ROWS[thread].objects.using(alias)
        self.blocks: list[Any] = []
        self.cursors: list[Any] = []
        self.iterators: list[Any] = []
        self.hooked: list[int] = []

    @property
    def connection(self) -> Any:
        return connections[self.alias]

    def sql(self, statement: str, *parameters: Any) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else cursor.rowcount

    # -- what a thread can do: each takes a small number, and does nothing where it makes no sense

    def insert(self, n: int) -> Any:
        return self.rows.create(value=n).pk

    def insert_several(self, n: int) -> Any:
        rows = [ROWS[self.thread](value=n * 10 + k) for k in range(3)]
        return len(self.rows.bulk_create(rows, ignore_conflicts=n % 2 == 0))

    def get_or_create(self, n: int) -> Any:
        row, created = self.rows.get_or_create(value=n)
        return row.pk, created

    def update(self, n: int) -> Any:
        return self.rows.filter(value__gt=n).update(value=models.F("value") + 100)

    def delete(self, n: int) -> Any:
        return self.rows.filter(value__lt=n).delete()[0]

    def read(self, n: int) -> Any:
        return list(ROWS[n % THREADS].objects.using(self.alias).order_by("pk").values_list())

    def lock(self, n: int) -> Any:
        return list(self.rows.select_for_update().filter(value__gt=n).values_list("pk"))

    def atomic(self, n: int) -> None:
        block = transaction.atomic(using=self.alias, savepoint=n % 3 > 0)
        block.__enter__()
        self.blocks.append(block)

    def end_atomic(self, n: int) -> None:
        if self.blocks:
            error = (Undo, Undo(), None) if n % 3 == 0 else (None, None, None)
            self.blocks.pop().__exit__(*error)

    def in_atomic(self, n: int) -> Any:
        with transaction.atomic(using=self.alias):
            pk = self.insert(n)
            if n % 2:
                raise Undo
        return pk

    def hook(self, n: int) -> Any:
        def hook() -> None:
            self.hooked.append(self.rows.count() * 10 + n)
            if n == 7:
                raise Undo

        transaction.on_commit(hook, using=self.alias)

    def hooks(self, _n: int) -> Any:
        return list(self.hooked)

    def manual(self, n: int) -> None:
        transaction.set_autocommit(n % 2 == 0, using=self.alias)

    def commit(self, n: int) -> None:
        (transaction.commit if n % 2 else transaction.rollback)(using=self.alias)

    def autocommit(self, _n: int) -> Any:
        return transaction.get_autocommit(using=self.alias)

    def bad_sql(self, _n: int) -> Any:
        return self.sql("SELECT nothing FROM nowhere")

    def set_variable(self, n: int) -> Any:
        return self.sql(f"SET @left = {n}")

    def variable(self, _n: int) -> Any:
        return self.sql("SELECT @left")

    def temporary_table(self, n: int) -> Any:
        return self.sql(f"CREATE TEMPORARY TABLE kept SELECT {n} AS n")

    def read_temporary(self, _n: int) -> Any:
        return self.sql("SELECT n FROM kept")

    def take_lock(self, _n: int) -> Any:
        return self.sql("SELECT GET_LOCK(%s, 0)", f"{self.alias}{self.thread}")

    def has_lock(self, _n: int) -> Any:
        return self.sql("SELECT IS_USED_LOCK(%s) <=> CONNECTION_ID()", f"{self.alias}{self.thread}")

    def warn(self, _n: int) -> Any:
        return self.sql(f"SELECT CAST('w' AS SIGNED) FROM rows{self.thread}")

    def select_nothing(self, _n: int) -> Any:
        return self.sql("SELECT 1")

    def ask(self, n: int) -> Any:
        questions = ["SELECT LAST_INSERT_ID()", "SELECT ROW_COUNT()", "SELECT FOUND_ROWS()",
                     "SHOW WARNINGS", "SELECT LAST_INSERT_ID(), ROW_COUNT()"]  # fmt: skip
        return self.sql(questions[n % len(questions)])

    def open_cursor(self, n: int) -> None:
        cursor = self.connection.cursor()
        cursor.execute(f"SELECT value FROM rows{n % THREADS} ORDER BY id")
        self.cursors.append(cursor)

    def use_cursor(self, n: int) -> Any:
        if self.cursors:
            return self.cursors[n % len(self.cursors)].fetchone()
        return None

    def write_by_cursor(self, n: int) -> Any:
        if not self.cursors:
            return None
        cursor = self.cursors[n % len(self.cursors)]
        return cursor.execute(f"INSERT INTO rows{self.thread} (value) VALUES ({n + 50})")

    def end_cursor(self, n: int) -> Any:
        if self.cursors:
            cursor = self.cursors.pop(n % len(self.cursors))
            if n % 2:
                cursor.close()

    def iterate(self, n: int) -> Any:
        rows = ROWS[n % THREADS].objects.using(self.alias).order_by("pk")
        self.iterators.append(rows.values_list("value").iterator(chunk_size=1))

    def step(self, n: int) -> Any:
        return next(self.iterators[n % len(self.iterators)], None) if self.iterators else None

    def abandon(self, n: int) -> None:
        if self.iterators:
            self.iterators.pop(n % len(self.iterators))

    def ensure(self, _n: int) -> Any:
        self.connection.ensure_connection()
        return self.connection.connection.escape("it's", self.connection.connection.encoders)

    def end_unit(self, _n: int) -> None:
        if not self.blocks:
            # Cursors left open can't be used any more, and say so in other words.
            self.cursors.clear()
            self.iterators.clear()
            self.connection.close()

    def reset(self, _n: int) -> None:
        while self.blocks:
            self.blocks.pop().__exit__(Undo, Undo(), None)
        self.end_unit(0)
        self.hooked.clear()


COMMON = (Side.insert, Side.read, Side.atomic, Side.end_atomic, Side.open_cursor, Side.end_cursor)
ACTIONS = [
    member
    for name, member in vars(Side).items()
    if callable(member) and not name.startswith("_") and name not in {"reset", "sql"}
] + [*COMMON, *COMMON]

Outcome = tuple[str, Any]


def outcome(side: Side, action: Callable[[Side, int], Any], n: int) -> Outcome:
    try:
        return "result", action(side, n)
    except EarlierStatementError:
        return "refused", None
    except (Error, Undo) as error:
        return type(error).__name__, error.args[:1]


class Actor:
    """A thread, which does everything on both databases."""

    def __init__(self, ours: str, djangos: str, number: int) -> None:
        self._thread = ThreadPoolExecutor(1)
        self.ours, self.djangos = Side(ours, number), Side(djangos, number)

    def act(self, action: Callable[[Side, int], Any], n: int) -> tuple[Outcome, Outcome]:
        return self._thread.submit(self._act, action, n).result(DEADLINE)

    def _act(self, action: Callable[[Side, int], Any], n: int) -> tuple[Outcome, Outcome]:
        ours = outcome(self.ours, action, n)
        if ours[0] == "refused" and action is Side.ask:
            return ours, ours  # not asked: Django's answer would count as a statement
        return ours, outcome(self.djangos, action, n)

    def end(self) -> None:
        self.act(Side.reset, 0)
        self._thread.shutdown()


@pytest.fixture
def other_scratch() -> Iterator[Scratch]:
    url = os.environ["DATABASE_URL"]
    with Admin(url) as admin, scratch_on(admin, url) as scratch:
        yield scratch


@pytest.fixture
def actors(
    add_database: AddDatabase, scratch: Scratch, other_scratch: Scratch
) -> Iterator[list[Actor]]:
    pool = {"mode": "transaction", "pool_size": THREADS, "timeout": 5}
    ours = add_database(**scratch.account.settings(OPTIONS={"pool": pool}))
    djangos = add_database(
        **other_scratch.account.settings(ENGINE="django.db.backends.mysql", CONN_MAX_AGE=None)
    )
    for alias in (ours, djangos):
        with connections[alias].schema_editor() as editor:
            for model in ROWS:
                editor.create_model(model)
        connections[alias].close()
    actors = [Actor(ours, djangos, number) for number in range(THREADS)]
    yield actors
    for actor in actors:
        actor.end()


def empty(scratches: tuple[Scratch, ...]) -> None:
    """Each id shows whose it is."""
    for scratch in scratches:
        for number in range(THREADS):
            table = f"{scratch.account.name}.rows{number}"
            scratch.admin.query(f"TRUNCATE {table}")
            scratch.admin.query(f"ALTER TABLE {table} AUTO_INCREMENT = {(number + 1) * 1000}")


steps = st.lists(
    st.tuples(st.integers(0, THREADS - 1), st.sampled_from(ACTIONS), st.integers(0, 9)),
    min_size=25,
    max_size=50,
)


def test_every_result_is_the_one_on_djangos_backend(
    actors: list[Actor], scratch: Scratch, other_scratch: Scratch
) -> None:
    examples = count(1)

    @modelling
    @given(steps)
    def check(steps: list[tuple[int, Callable[[Side, int], Any], int]]) -> None:
        empty((scratch, other_scratch))
        example, done = next(examples), []
        try:
            for thread, action, n in steps:
                ours, djangos = actors[thread].act(action, n)
                done.append(f"thread {thread}: {action.__name__}({n})")
                transcript = "\n".join(done)
                assert ours == djangos, f"example {example}, step {len(done)}\n{transcript}"
        finally:
            for actor in actors:
                actor.act(Side.reset, 0)

    check()

"""mode="transaction" under what Django does in several statements: as on its own backend."""

import unittest
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.db import IntegrityError, connections, models, transaction
from django.db.models.expressions import RawSQL
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest, HttpResponse
from django.test import TestCase, TransactionTestCase
from django.test.utils import CaptureQueriesContext

from pooldaemon import auto_close_db
from tests.mysql.scratch import Scratch
from tests.mysql.use import fetch, return_connection, run, session_id, stats
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task


class Shelf(models.Model):
    name = models.CharField(max_length=20, unique=True)

    class Meta:
        app_label = "transaction_mode"

    def __str__(self) -> str:
        return self.name


class Volume(models.Model):
    shelf = models.ForeignKey(Shelf, models.CASCADE)

    class Meta:
        app_label = "transaction_mode"

    def __str__(self) -> str:
        return f"{self.pk} on {self.shelf}"


@pytest.fixture
def without_tables(add_pooled: AddDatabase) -> Iterator[str]:
    alias = add_pooled(mode="transaction", pool_size=1, timeout=5)
    yield alias
    return_connection(alias)
    with connections[alias].schema_editor() as editor:
        editor.delete_model(Volume)
        editor.delete_model(Shelf)


@pytest.fixture
def alias(without_tables: str) -> str:
    with connections[without_tables].schema_editor() as editor:
        editor.create_model(Shelf)
        editor.create_model(Volume)
    return_connection(without_tables)
    return without_tables


def shelves(alias: str) -> "models.QuerySet[Shelf]":
    return Shelf.objects.using(alias)


def held(alias: str) -> bool:
    return stats(alias).in_use > 0


def others_count(alias: str) -> Any:
    """Found out by another thread, which needs the only connection."""
    return Task(auto_close_db(lambda: shelves(alias).count())).result()


def test_a_schema_editor_does_its_deferred_statements_on_the_session_of_the_others(
    without_tables: str,
) -> None:
    alias = without_tables
    run(alias, "SET @before = 1")
    session = session_id(alias)
    with connections[alias].schema_editor() as editor:
        editor.create_model(Shelf)
        editor.create_model(Volume)
        assert editor.deferred_sql
        assert editor.quote_value("it's") == "'it\\'s'"
    assert session_id(alias) == session
    assert fetch(alias, "SELECT @before") == 1
    return_connection(alias)
    assert not held(alias)
    with pytest.raises(IntegrityError):
        Volume.objects.using(alias).create(shelf_id=7)


def test_constraint_checks_are_off_for_the_block_and_for_nobody_else(alias: str) -> None:
    connection = connections[alias]
    with connection.constraint_checks_disabled():
        Volume.objects.using(alias).create(shelf_id=7)
        assert fetch(alias, "SELECT @@foreign_key_checks") == 0
        assert held(alias)
    assert fetch(alias, "SELECT @@foreign_key_checks") == 1
    with pytest.raises(IntegrityError):
        connection.check_constraints()
    Volume.objects.using(alias).all().delete()
    return_connection(alias)
    assert Task(auto_close_db(fetch), alias, "SELECT @@foreign_key_checks").result() == 1


def test_an_iterator_holds_the_connection_until_its_end_or_its_own(alias: str) -> None:
    shelves(alias).bulk_create(Shelf(name=str(number)) for number in range(3))
    rows = shelves(alias).order_by("pk").iterator(chunk_size=1)
    assert next(rows).name == "0"
    assert held(alias)
    run(alias, "SELECT 1")  # meanwhile, on the same session
    assert [row.name for row in rows] == ["1", "2"]
    assert not held(alias)
    abandoned = shelves(alias).iterator(chunk_size=1)
    next(abandoned)
    assert held(alias)
    del abandoned
    assert not held(alias)
    with connections[alias].chunked_cursor() as cursor:
        cursor.execute("SELECT 1")
        assert held(alias)
    assert not held(alias)


def test_many_rows_in_several_statements_are_one_transaction(alias: str) -> None:
    rows = [Shelf(name=str(number)) for number in range(9)]
    with pytest.raises(IntegrityError):
        shelves(alias).bulk_create([*rows, Shelf(name="0")], batch_size=3)
    assert others_count(alias) == 0
    shelves(alias).bulk_create(rows, batch_size=3)
    assert not held(alias)
    assert others_count(alias) == 9


def test_a_savepoint_is_rolled_back_alone(alias: str) -> None:
    with transaction.atomic(using=alias):
        shelves(alias).create(name="kept")
        create = getattr(
            transaction, "savepoint_create", transaction.savepoint
        )  # Django 6.1's name
        point = create(using=alias)
        shelves(alias).create(name="by hand")
        transaction.savepoint_rollback(point, using=alias)
        with pytest.raises(IntegrityError), transaction.atomic(using=alias):
            shelves(alias).bulk_create([Shelf(name="with the block"), Shelf(name="kept")], 1)
        assert held(alias)
    assert not held(alias)
    assert list(shelves(alias).values_list("name", flat=True)) == ["kept"]


def test_rows_are_locked_until_the_end_of_the_transaction_and_never_outside_of_one(
    alias: str, scratch: Scratch
) -> None:
    shelves(alias).create(name="one")
    with pytest.raises(TransactionManagementError):
        shelves(alias).select_for_update().get()
    nobody_waits = (
        f"SELECT name FROM {scratch.account.name}.{Shelf._meta.db_table} FOR UPDATE NOWAIT"
    )
    with transaction.atomic(using=alias):
        assert shelves(alias).select_for_update().get().name == "one"
        with pytest.raises(connections[alias].Database.OperationalError):
            scratch.admin.query(nobody_waits)
    assert scratch.admin.query(nobody_waits) == [{"name": "one"}]


def test_wrappers_and_the_log_of_queries_outlast_a_return(alias: str) -> None:
    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    connection = connections[alias]
    with connection.execute_wrapper(note), CaptureQueriesContext(connection) as queries:
        run(alias, "SELECT 1")
        assert others_count(alias) == 0
        run(alias, "SELECT 2")
        with transaction.atomic(using=alias):
            run(alias, "SELECT 3")
    statements = [query["sql"] for query in queries.captured_queries]
    assert seen == ["SELECT 1", "SELECT 2", "SELECT 3"]
    assert [sql for sql in statements if sql.startswith("SELECT")] == seen
    assert statements == [*seen[:2], "BEGIN", *seen[2:], "COMMIT"]


def test_with_atomic_requests_a_view_is_one_transaction(
    add_database: AddDatabase, alias: str, scratch: Scratch
) -> None:
    in_requests = add_database(
        **scratch.account.settings(ATOMIC_REQUESTS=True, OPTIONS={"pool": {"mode": "transaction"}})
    )
    seen: list[bool] = []

    def view(request: HttpRequest) -> HttpResponse:
        shelves(in_requests).create(name=request.path)
        seen.append(held(in_requests))
        if request.path == "/fails":
            raise LookupError
        return HttpResponse()

    handler = BaseHandler()
    for path in ("/fails", "/succeeds"):
        request = HttpRequest()
        request.path = path
        try:
            handler.make_view_atomic(view)(request)
        except LookupError:
            assert path == "/fails"
        assert not held(in_requests)
    assert seen == [True, True]
    assert [shelf.name for shelf in shelves(in_requests)] == ["/succeeds"]


def test_djangos_test_cases_undo_what_their_tests_did(alias: str) -> None:
    def write(case: TestCase) -> None:
        shelves(alias).create(name="of the test")
        assert shelves(alias).count() == 2

    class Case(TestCase):
        databases = {alias}
        test_first = test_second = write

        @classmethod
        def setUpTestData(cls) -> None:
            shelves(alias).create(name="of the class")

    assert_succeeds(Case, 2)
    assert others_count(alias) == 0


def test_in_a_transaction_test_case_others_see_what_is_done(alias: str) -> None:
    class Case(TransactionTestCase):
        databases = {alias}
        available_apps: list[str] = []

        def test(self) -> None:
            shelves(alias).create(name="of the test")
            assert others_count(alias) == 1

    assert_succeeds(Case, 1)


def assert_succeeds(case: type[TransactionTestCase], tests: int) -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (tests, [], [])


def test_the_line_of_an_orm_statement_is_reported_while_it_runs(alias: str) -> None:
    shelves(alias).create(name="only")
    return_connection(alias)

    def sleep_on_the_server() -> None:
        assert shelves(alias).count() == 1  # the next statement goes on with its connection
        assert list(shelves(alias).annotate(slept=RawSQL("SLEEP(%s)", [0.5])))

    def place() -> str:
        return next((one.place for one in stats(alias).holders if one.seconds > 0.1), "")

    sleeper = Task(auto_close_db(sleep_on_the_server))
    found = wait_until(place, DEADLINE, "nobody holds a connection")
    assert found.endswith(" in sleep_on_the_server")
    assert f"{__file__}:" in found
    sleeper.result()

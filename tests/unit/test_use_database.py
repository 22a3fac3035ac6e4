"""use_database: other settings for a block, and afterwards what was there before."""

import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import ConnectionHandler, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import SimpleTestCase, TestCase
from django.utils.connection import ConnectionDoesNotExist

from pooldaemon import auto_close_db, pool_stats, use_database
from tests.unit.databases import AddDatabase
from tests.unit.fakes import DEADLINE, Task


class OwnError(Exception):
    pass


def where(alias: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name FROM here")
        return cursor.fetchone()[0]


def in_use() -> int:
    return sum(stats.in_use for stats in pool_stats())


def test_a_block_has_its_database_and_afterwards_the_old_connection_is_back(
    alias: str, tenants: list[str]
) -> None:
    base, one, two = tenants
    before = connections[alias]
    assert where(alias) == base
    session = before.connection
    with use_database(alias, NAME=one):
        assert where(alias) == one
        with use_database(alias, NAME=two):
            assert where(alias) == two
        assert where(alias) == one
    assert connections[alias] is before
    assert before.connection is session, "what was borrowed before stays borrowed"
    assert where(alias) == base
    assert in_use() == 1, "the block's connections have been returned"


def test_an_exception_ends_a_block_as_well(alias: str, tenants: list[str]) -> None:
    before = connections[alias]

    def work() -> None:
        with use_database(alias, NAME=tenants[1]):
            where(alias)
            raise OwnError

    with pytest.raises(OwnError):
        work()
    assert connections[alias] is before
    assert in_use() == 0


def test_an_inner_block_changes_only_what_it_names(alias: str, tenants: list[str]) -> None:
    options = {"pool": {"pool_size": 3}}
    with use_database(alias, NAME=tenants[1], OPTIONS={"timeout": 7}):
        with use_database(alias, OPTIONS=options):
            settings = connections[alias].settings_dict
            assert settings["NAME"] == tenants[1]
            assert settings["OPTIONS"] == {"timeout": 7, **options}
        assert connections[alias].settings_dict["OPTIONS"]["pool"] != options["pool"]
    assert "timeout" not in connections[alias].settings_dict["OPTIONS"]


def test_other_threads_do_not_notice(alias: str, tenants: list[str]) -> None:
    with use_database(alias, NAME=tenants[1]):
        assert Task(where, alias).result() == tenants[0]
        assert where(alias) == tenants[1]


def test_threads_use_different_databases_at_the_same_time(alias: str, tenants: list[str]) -> None:
    meeting = threading.Barrier(2, timeout=DEADLINE)

    def look(name: str) -> None:
        with use_database(alias, NAME=name):
            for _ in range(20):
                meeting.wait()
                assert where(alias) == name
                connections[alias].close()

    for task in [Task(look, name) for name in tenants[1:]]:
        task.result()


def test_equal_settings_share_one_pool_from_block_to_block(alias: str, tenants: list[str]) -> None:
    for _ in range(2):
        with use_database(alias, NAME=tenants[1]):
            where(alias)
    (stats,) = [stats for stats in pool_stats() if tenants[1] in stats.name]
    assert stats.connects == 1


def test_auto_close_db_gives_the_blocks_connection_back_inside_and_outside(
    alias: str, tenants: list[str]
) -> None:
    with use_database(alias, NAME=tenants[1]):
        with auto_close_db():
            where(alias)
            assert in_use() == 1
        assert in_use() == 0
    with auto_close_db():
        where(alias)
        with use_database(alias, NAME=tenants[1]):
            where(alias)
            assert in_use() == 2
        assert in_use() == 1
    assert in_use() == 0


def test_blocks_in_generators_may_end_in_any_order(alias: str, tenants: list[str]) -> None:
    before = connections[alias]

    def rows(name: str) -> Iterator[Any]:
        with use_database(alias, NAME=name):
            yield where(alias)

    first, second = rows(tenants[1]), rows(tenants[2])
    assert (next(first), next(second)) == tuple(tenants[1:])
    assert next(first, None) is None
    assert where(alias) == tenants[2], "the second block goes on"
    assert next(second, None) is None
    assert connections[alias] is before
    assert in_use() == 0


def test_a_block_cannot_end_in_another_thread(alias: str, tenants: list[str]) -> None:
    block = use_database(alias, NAME=tenants[1])
    with block, pytest.raises(RuntimeError, match="must end in the thread in which it began"):
        Task(block.__exit__).result()


def test_a_block_can_be_entered_once(alias: str, tenants: list[str]) -> None:
    block = use_database(alias, NAME=tenants[1])
    with block:
        pass
    with pytest.raises(RuntimeError, match="can be entered only once"), block:
        pass
    assert where(alias) == tenants[0]


def test_inside_an_open_transaction_it_is_refused(alias: str, tenants: list[str]) -> None:
    with transaction.atomic(using=alias):
        with (
            pytest.raises(TransactionManagementError, match="can't be used inside an atomic"),
            use_database(alias, NAME=tenants[1]),
        ):
            pass
        assert where(alias) == tenants[0]


def test_a_transaction_inside_belongs_to_the_block(alias: str, tenants: list[str]) -> None:
    with use_database(alias, NAME=tenants[1]):
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM here")
            transaction.set_rollback(True, using=alias)
        assert where(alias) == tenants[1]


def test_for_an_unknown_alias_the_message_names_the_nearest(alias: str) -> None:
    with pytest.raises(ConnectionDoesNotExist, match=r"'defualt' doesn't exist\..*'default'"):
        use_database("defualt", NAME="x")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("NAMEE", "can't change 'NAMEE'. Did you mean 'NAME'?"),
        ("name", "can't change 'name'. Did you mean 'NAME'?"),
        ("ENGINE", "can't change 'ENGINE'. Valid: NAME, USER"),
        ("alias", "can't change 'alias'."),
    ],
)
def test_for_an_unknown_setting_the_message_names_the_nearest(
    alias: str, key: str, message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        use_database(alias, **{key: "secret"})
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_options_that_are_no_dict_are_refused(alias: str) -> None:
    with pytest.raises(TypeError, match="OPTIONS must be a dict, not str"):
        use_database(alias, OPTIONS="x")


def test_wrong_pool_settings_are_reported_at_the_first_query(alias: str) -> None:
    with (
        use_database(alias, OPTIONS={"pool": {"pool_sise": 3}}),
        pytest.raises(ImproperlyConfigured, match="Did you mean 'pool_size'"),
    ):
        where(alias)


def test_no_secret_shows(alias: str) -> None:
    assert "hidden" not in repr(use_database(alias, PASSWORD="hidden"))


def test_a_database_without_a_pool_is_served(add_database: AddDatabase, tmp_path: Path) -> None:
    alias = add_database(ENGINE="django.db.backends.sqlite3", NAME=str(tmp_path / "a"))
    with use_database(alias, NAME=str(tmp_path / "b")):
        inner = connections[alias]
        inner.ensure_connection()
    assert inner.connection is None
    assert connections[alias].settings_dict["NAME"] == str(tmp_path / "a")


def test_handlers_of_ones_own_have_their_own_settings(alias: str, tenants: list[str]) -> None:
    settings = connections.settings[alias]
    own = ConnectionHandler(
        {"default": {}, alias: {"ENGINE": settings["ENGINE"], "NAME": tenants[1]}}
    )

    def ask(handler: ConnectionHandler) -> Any:
        with handler[alias].cursor() as cursor:
            cursor.execute("SELECT name FROM here")
            return cursor.fetchone()[0]

    def both() -> tuple[Any, Any]:
        try:
            return ask(connections), ask(own)
        finally:
            own.close_all()

    assert both() == (tenants[0], tenants[1])
    assert Task(both).result() == (tenants[0], tenants[1])
    with use_database(alias, NAME=tenants[2]):
        assert both() == (tenants[2], tenants[1])
    connections[alias].close()
    assert in_use() == 0


# -- under Django's test cases ---------------------------------------------------------


def test_a_test_case_that_may_use_no_database_may_use_none_in_a_block(
    alias: str, tenants: list[str]
) -> None:
    class NoDatabase(SimpleTestCase):
        def look(self) -> None:
            with (
                pytest.raises(AssertionError, match="to 'default' are not allowed"),
                use_database("default", NAME=tenants[1]),
            ):
                connections["default"].cursor()

    assert suite_of(NoDatabase).wasSuccessful()


def test_in_a_test_case_that_is_a_transaction_a_block_is_refused(
    alias: str, tenants: list[str]
) -> None:
    class InTransaction(TestCase):
        databases = {alias}

        def look(self) -> None:
            with pytest.raises(TransactionManagementError, match="TransactionTestCase"):
                use_database(alias, NAME=tenants[1]).__enter__()

    assert suite_of(InTransaction).wasSuccessful()


def suite_of(case: type[SimpleTestCase]) -> unittest.TestResult:
    """Run its one test as Django's test runner does, with the set-up of its class."""
    result = unittest.TestResult()
    unittest.TestSuite([case("look")]).run(result)
    assert result.testsRun == 1
    return result

"""auto_close_db on plain and generator functions, and as a context manager."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from pooldaemon import auto_close_db
from pooldaemon.connections import return_connections
from tests.unit.databases import AddDatabase
from tests.unit.fakes import Task


class OwnError(Exception):
    pass


def ask(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 7")
        answer: int = cursor.fetchone()[0]
    return answer


def holds(alias: str) -> bool:
    """Whether this thread has a connection of the database."""
    return connections[alias].connection is not None


def test_a_decorated_function_returns_its_connection_when_it_ends(alias: str) -> None:
    @auto_close_db
    def work() -> int:
        answer = ask(alias)
        assert holds(alias)
        return answer

    assert work() == 7
    assert not holds(alias)


def test_without_it_the_thread_keeps_its_connection(alias: str) -> None:
    ask(alias)
    assert holds(alias)


def test_a_decorated_function_takes_arguments_and_keeps_its_name(alias: str) -> None:
    @auto_close_db
    def add(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")


def test_a_method_can_be_decorated(alias: str) -> None:
    class Shop:
        @auto_close_db
        def count(self) -> int:
            return ask(alias)

    assert Shop().count() == 7
    assert not holds(alias)


def test_the_context_manager_returns_the_connection_at_its_end(alias: str) -> None:
    with auto_close_db():
        ask(alias)
        assert holds(alias)
    assert not holds(alias)


def test_an_exception_passes_and_the_connection_goes_back(alias: str) -> None:
    @auto_close_db
    def work() -> None:
        ask(alias)
        raise OwnError

    with pytest.raises(OwnError):
        work()
    assert not holds(alias)

    def work_in_a_block() -> None:
        with auto_close_db():
            ask(alias)
            raise OwnError

    with pytest.raises(OwnError):
        work_in_a_block()
    assert not holds(alias)


def test_nested_units_return_their_connection_once_at_the_outermost_exit(alias: str) -> None:
    @auto_close_db
    def inner() -> None:
        ask(alias)

    with auto_close_db():
        inner()
        with auto_close_db():
            ask(alias)
        assert holds(alias)
        with pytest.raises(OwnError), auto_close_db():
            raise OwnError
        assert holds(alias)
    assert not holds(alias)


def test_the_connection_of_every_database_is_returned(add_sqlite: AddDatabase) -> None:
    one, two = add_sqlite("one"), add_sqlite("two")
    with auto_close_db():
        ask(one)
        ask(two)
    assert not holds(one)
    assert not holds(two)


def test_only_databases_that_the_thread_has_used_are_touched(add_sqlite: AddDatabase) -> None:
    used, unused = add_sqlite("used"), add_sqlite("unused")

    def work() -> set[str]:
        with auto_close_db():
            ask(used)
        return {connection.alias for connection in connections.all(initialized_only=True)}

    aliases = Task(work).result()
    assert aliases == {used}
    assert unused not in aliases


def test_a_connection_inside_the_callers_atomic_is_left_alone(alias: str) -> None:
    with transaction.atomic(using=alias):
        with auto_close_db():
            ask(alias)
        assert holds(alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("CREATE TABLE kept (n INTEGER)")
    with auto_close_db(), connections[alias].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM kept")
    assert not holds(alias)


def test_only_the_connection_inside_atomic_stays(add_sqlite: AddDatabase) -> None:
    inside, outside = add_sqlite("inside"), add_sqlite("outside")
    with transaction.atomic(using=inside):
        with auto_close_db():
            ask(outside)
        assert holds(inside)
        assert not holds(outside)


def test_a_connection_that_fails_to_go_back_keeps_no_other(
    add_sqlite: AddDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = add_sqlite("first"), add_sqlite("second")

    def fail() -> None:
        raise DatabaseError("lost")

    with auto_close_db():
        ask(first)
        ask(second)
        with monkeypatch.context() as patched:
            patched.setattr(connections[first], "close", fail)
            return_connections()
        assert not holds(second)
    assert f"Returning the connection of the database '{first}' failed." in caplog.text


def test_each_thread_returns_its_own_connection_only(alias: str) -> None:
    with auto_close_db():
        ask(alias)

        @auto_close_db
        def work() -> None:
            ask(alias)

        def check() -> bool:
            work()
            return holds(alias)

        assert Task(check).result() is False
        assert holds(alias)


@pytest.mark.parametrize("wrong", [5, "name", object()])
def test_what_cannot_be_called_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"auto_close_db takes a function, not "):
        auto_close_db(wrong)


def test_a_partial_can_be_wrapped(alias: str) -> None:
    assert auto_close_db(partial(ask, alias))() == 7
    assert not holds(alias)


# -- generators -------------------------------------------------------------------------


def make_generator(alias: str) -> Callable[[], Any]:
    @auto_close_db
    def numbers() -> Iterator[int]:
        """Numbers."""
        for number in range(3):
            ask(alias)
            yield number

    return numbers


def test_a_generator_returns_its_connection_when_it_is_exhausted(alias: str) -> None:
    generator = make_generator(alias)()
    assert next(generator) == 0
    assert holds(alias)
    assert list(generator) == [1, 2]
    assert not holds(alias)


def test_a_generator_returns_its_connection_when_it_is_closed(alias: str) -> None:
    generator = make_generator(alias)()
    next(generator)
    generator.close()
    assert not holds(alias)


def test_a_generator_returns_its_connection_when_it_raises(alias: str) -> None:
    @auto_close_db
    def failing() -> Iterator[int]:
        ask(alias)
        yield 1
        raise OwnError

    generator = failing()
    next(generator)
    with pytest.raises(OwnError):
        next(generator)
    assert not holds(alias)


def test_a_generator_that_was_not_started_counts_for_nothing(alias: str) -> None:
    generator = make_generator(alias)()
    with auto_close_db():
        ask(alias)
    assert not holds(alias)
    generator.close()


def test_a_generator_passes_on_what_is_sent_thrown_and_returned(alias: str) -> None:
    heard: list[Any] = []

    @auto_close_db
    def echo() -> Any:
        try:
            heard.append((yield ask(alias)))
        except OwnError:
            heard.append("thrown")
        yield 2
        return "end"

    one = echo()
    assert next(one) == 7
    one.send("sent")
    with pytest.raises(StopIteration) as stop:
        next(one)
    assert stop.value.value == "end"
    other = echo()
    next(other)
    other.throw(OwnError())
    assert heard == ["sent", "thrown"]
    other.close()
    assert echo.__name__ == "echo"


def test_a_generator_inside_a_unit_returns_its_connection_at_the_outermost_exit(alias: str) -> None:
    with auto_close_db():
        list(make_generator(alias)())
        assert holds(alias)
    assert not holds(alias)


def test_a_generator_closed_by_another_thread_leaves_the_connections_of_both_alone(
    alias: str,
) -> None:
    def own_it() -> bool:
        generator = make_generator(alias)()
        next(generator)

        def close_it() -> bool:
            ask(alias)
            generator.close()
            return holds(alias)

        assert Task(close_it).result(), "it returned the connection of another thread"
        return holds(alias)

    assert Task(own_it).result()


def test_a_thread_whose_generator_was_closed_elsewhere_returns_connections_again(
    alias: str,
) -> None:
    def own_it() -> bool:
        generator = make_generator(alias)()
        next(generator)
        Task(generator.close).result()  # as the garbage collector does, in any thread
        with auto_close_db():
            ask(alias)
        return holds(alias)

    assert Task(own_it).result() is False


def test_an_abandoned_generator_ends_its_unit_when_it_is_collected(alias: str) -> None:
    generator = make_generator(alias)()
    next(generator)
    del generator
    gc.collect()
    assert not holds(alias)

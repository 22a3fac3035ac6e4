"""What Python takes without a word and a daemon would not do is refused before it starts."""

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.core.management.base import CommandError

from pooldaemon import BaseDaemonCommand
from pooldaemon.management.commands import rundaemon
from pooldaemon.management.mistakes import check_command, check_environment, check_unit
from pooldaemon.workers.worker.context import WorkContext


class Right(BaseDaemonCommand):
    """All of it is its own business, or ours."""

    help = "Works"
    processes = 2
    batch_size = 100
    queue = "default"
    _proceses = 4
    retry_after = 5

    def perform(self, ctx: WorkContext) -> Any:
        return self.process(ctx)

    def process(self, ctx: WorkContext) -> bool:  # a method: it is no number of processes
        return True

    def perform_one(self, ctx: WorkContext) -> bool:
        return True


def refusal(command: BaseDaemonCommand) -> str:
    with pytest.raises(CommandError) as caught:
        check_command(command, BaseDaemonCommand)
    return str(caught.value)


def test_a_command_without_mistakes_is_taken() -> None:
    check_command(Right(), BaseDaemonCommand)
    check_command(rundaemon.Command(), BaseDaemonCommand)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("proceses", 4, "processes"),
        ("thread", 4, "threads"),
        ("Threads", 4, "threads"),
        ("max_conections", {"*": 4}, "max_connections"),
        ("idle_intervall", 0.5, "idle_interval"),
        ("gracefull_timeout", 5, "graceful_timeout"),
        ("database", ("replica",), "databases"),
        ("worker_inits", lambda self, worker: None, "worker_init"),
        ("setUp", lambda self: None, "setup"),
    ],
)
def test_an_attribute_that_is_nearly_one_of_ours_is_named_with_the_nearest(
    name: str, value: Any, meant: str
) -> None:
    inherited = type("Base", (Right,), {name: value})
    for command in (type("Command", (Right,), {name: value})(), type("C", (inherited,), {})()):
        text = refusal(command)
        assert f".{name} is not an attribute of daemon commands" in text
        assert f"Did you mean {meant!r}?" in text


def test_an_attribute_of_the_object_is_looked_at_too() -> None:
    command: Any = Right()
    command.proceses = 4
    assert "Did you mean 'processes'?" in refusal(command)


@pytest.mark.parametrize("databases", ["default", None])
def test_databases_that_are_no_tuple_are_refused(databases: Any) -> None:
    command = Right()
    command.databases = databases
    assert f"Command.databases is {databases!r}; it must be a tuple of aliases" in refusal(command)


def test_a_database_that_is_not_there_is_named_with_the_nearest() -> None:
    command = Right()
    command.databases = ("defualt",)
    assert refusal(command) == (
        "Command.databases names 'defualt', which is not in settings.DATABASES. "
        "Did you mean 'default'?"
    )


# -- perform ----------------------------------------------------------------------------


def test_a_command_without_perform_is_refused() -> None:
    assert "needs a method perform(self, ctx)" in refusal(
        type("Command", (BaseDaemonCommand,), {})()
    )


def no_ctx(self: Any) -> bool:
    return True


def more_than_ctx(self: Any, ctx: WorkContext, row: int) -> bool:
    return True


@pytest.mark.parametrize("perform", [no_ctx, more_than_ctx])
def test_a_perform_that_does_not_take_ctx_alone_is_refused(perform: Any) -> None:
    text = refusal(type("Command", (Right,), {"perform": perform})())
    assert "can't be called with one argument, ctx" in text
    assert text.endswith("Define it as: def perform(self, ctx)")


def generator(ctx: WorkContext) -> Iterator[int]:
    yield 1


async def async_generator(ctx: WorkContext) -> AsyncIterator[int]:
    yield 1


class Generates:
    def __call__(self, ctx: WorkContext) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    "unit", [generator, async_generator, Generates(), functools.partial(generator)]
)
def test_a_generator_function_is_refused_with_a_way_out(unit: Any) -> None:
    with pytest.raises(
        CommandError, match=r"the target 'x' is a generator function.*Do one unit of work"
    ):
        check_unit(unit, "the target 'x'", "def unit(ctx)")


def test_a_class_as_a_target_is_refused() -> None:
    with pytest.raises(CommandError, match="the target 'x' is a class"):
        check_unit(Generates, "the target 'x'", "def unit(ctx)")


async def coroutine(context: WorkContext) -> bool:
    return True


class Unit:
    async def __call__(self, ctx: WorkContext, *, retries: int = 3) -> bool:
        return True

    def method(self, ctx: WorkContext) -> bool:
        return True


@pytest.mark.parametrize(
    "unit",
    [
        *(coroutine, Unit(), Unit().method, lambda *args: True, bool.__call__),
        functools.partial(Unit().method),
    ],
)
def test_whatever_can_be_called_with_ctx_is_taken(unit: Any) -> None:
    check_unit(unit, "the target 'x'", "def unit(ctx)")


# -- the environment --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("POOLDAEMON_THREDS", "POOLDAEMON_THREADS"),
        ("POOLDAEMON_PID_FILE", "POOLDAEMON_PIDFILE"),
        ("POOLDAEMON_MAX_CONNECTION", "POOLDAEMON_MAX_CONNECTIONS"),
    ],
)
def test_a_variable_that_is_nearly_an_option_is_named_with_the_nearest(
    given: str, meant: str
) -> None:
    with pytest.raises(CommandError) as caught:
        check_environment({given: "3", "PATH": "/bin"})
    assert (
        str(caught.value)
        == f"the environment variable {given} is not an option of daemons. Did you mean {meant!r}?"
    )


def test_variables_that_only_look_like_options_are_reported_in_one_line() -> None:
    # Kubernetes gives the first two to each container beside a service of that name.
    variables = {
        "POOLDAEMON_SERVICE_HOST": "10.0.0.1",
        "POOLDAEMON_PORT_80_TCP": "tcp://10.0.0.1:80",
        "POOLDAEMON_UNTIL_IDLE": "1",
    }
    assert check_environment(variables) == (
        "environment variables that are not options of daemons: POOLDAEMON_PORT_80_TCP, "
        "POOLDAEMON_SERVICE_HOST, POOLDAEMON_UNTIL_IDLE"
    )


def test_options_and_our_own_variables_are_no_mistakes() -> None:
    names = ("THREADS", "GRACEFUL_TIMEOUT", "METRICS_ADDRESS", "TRIAL", "FAULTS")
    names += ("HANDOVER", "ATTEMPTS")
    variables = {f"POOLDAEMON_{name}": "1" for name in (*names, "TEST_DATABASES")}
    assert check_environment(variables) is None

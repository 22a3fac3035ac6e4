"""Where a daemon's configuration comes from, and what a mistake gets to read."""

import math
import os
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from pytest_django import Settings

from pooldaemon.conf import DaemonConfig, pooldaemon_settings
from pooldaemon.management.base import BaseDaemonCommand
from pooldaemon.management.options import SWITCHES, config_of, read_options, shown
from pooldaemon.management.surroundings import read_surroundings
from pooldaemon.workers.process.invocation import Invocation


class Command(BaseDaemonCommand):
    processes = 2
    threads = 16


def parse(*arguments: str) -> dict[str, Any]:
    command = Command()
    parser = CommandParser(prog="manage.py command", called_from_command_line=False)
    command.add_arguments(parser)
    return vars(parser.parse_args(list(arguments)))


def read(*arguments: str) -> DaemonConfig:
    given = parse(*arguments)
    return config_of(read_options(Command(), given), **{name: given[name] for name in SWITCHES})


@pytest.fixture(autouse=True)
def no_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.POOLDAEMON = {}
    monkeypatch.setitem(settings.DATABASES, "other", settings.DATABASES["default"])


def test_a_database_that_fails_djangos_checks_is_reported_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(2002, "Can't connect to server")

    monkeypatch.setattr(BaseCommand, "check", check)
    pattern = (
        r"^Django's system checks failed to query a database: OperationalError: .*Can't connect"
    )
    with pytest.raises(CommandError, match=pattern):
        call_command(Command(), skip_checks=False)


def test_class_attributes_are_the_defaults() -> None:
    assert read() == DaemonConfig(
        processes=2,
        threads=16,
        max_connections={},
        idle_interval=1.0,
        graceful_timeout=30.0,
        until_idle=False,
    )


def test_settings_go_before_class_attributes(settings: Settings) -> None:
    settings.POOLDAEMON = {"PROCESSES": 3, "MAX_CONNECTIONS": 5}
    config = read()
    assert (config.processes, config.threads, config.max_connections) == (3, 16, {"*": 5})


def test_the_environment_goes_before_the_settings_and_behind_the_command_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.POOLDAEMON = {"PROCESSES": 3, "THREADS": 9}
    monkeypatch.setenv("POOLDAEMON_PROCESSES", "5")
    monkeypatch.setenv("POOLDAEMON_THREADS", "6")
    config = read("--threads=7")
    assert (config.processes, config.threads) == (5, 7)


def test_only_root_becomes_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    options = read_options(Command(), parse("--user=root"))
    with pytest.raises(CommandError, match=r"--user root: only root can change user or group\."):
        read_surroundings(options, Invocation.of_this_process())


def test_the_command_line_goes_before_everything(settings: Settings) -> None:
    settings.POOLDAEMON = {"PROCESSES": 3, "IDLE_INTERVAL": 9}
    config = read(
        "--processes=4", "--threads=5", "--max-connections=6", "--idle-interval=0.5",
        "--graceful-timeout=0", "--until-idle",
    )  # fmt: skip
    assert config == DaemonConfig(4, 5, {"*": 6}, 0.5, 0.0, until_idle=True)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (("4",), {"*": 4}),
        (("other=2",), {"other": 2}),
        (("4", "other=2"), {"*": 4, "other": 2}),
        (("4, other = 2", "default=3"), {"*": 4, "other": 2, "default": 3}),
    ],
)
def test_connections_may_be_limited_by_database(
    settings: Settings, given: tuple[str, ...], numbers: dict[str, int]
) -> None:
    settings.POOLDAEMON = {"MAX_CONNECTIONS": {"default": 9}}
    assert read().max_connections == {"default": 9}
    assert read(*(f"--max-connections={text}" for text in given)).max_connections == numbers


def test_connections_may_be_limited_by_database_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POOLDAEMON_MAX_CONNECTIONS", "4,other=2")
    assert read().max_connections == {"*": 4, "other": 2}
    options = read_options(Command(), parse())
    option = options["max_connections"]
    assert (shown(option.value), option.origin) == ("4,other=2", "POOLDAEMON_MAX_CONNECTIONS")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", "''"),
        ("many", "'many'"),
        ("other=", "'other='"),
        ("0", "0"),
        ("other=0", "{'other': 0}"),
        ("4,other=0", "{'*': 4, 'other': 0}"),
    ],
)
def test_a_wrong_limit_of_connections_is_named_with_what_is_valid(given: str, shown: str) -> None:
    with pytest.raises(CommandError) as caught:
        read(f"--max-connections={given}")
    assert str(caught.value) == (
        f"--max-connections is {shown}; it must be a whole number from 1 to 100000, or None, or "
        "one for each database: 4,replica=2 as a text, {'*': 4, 'replica': 2} in Python."
    )


def test_a_limit_for_a_database_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(CommandError) as caught:
        read("--max-connections=4,defualt=2")
    assert str(caught.value) == (
        "--max-connections names 'defualt', which is not in settings.DATABASES. "
        "Did you mean 'default'?"
    )


def test_a_wrong_value_on_the_command_line_hides_no_setting(settings: Settings) -> None:
    settings.POOLDAEMON = {"THREADS": 0}
    assert read("--threads=3").threads == 3


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("processes", "0", "a whole number from 1 to 1000"),
        ("processes", "-1", "a whole number from 1 to 1000"),
        ("threads", "0", "a whole number from 1 to 10000"),
        ("idle-interval", "0", "a number of seconds from 0.01 to 604800"),
        ("idle-interval", "nan", "a number of seconds from 0.01 to 604800"),
        ("graceful-timeout", "-1", "a number of seconds from 0 to 604800"),
        ("graceful-timeout", "inf", "a number of seconds from 0 to 604800"),
    ],
)
def test_a_wrong_option_is_named_with_its_range(option: str, value: str, expected: str) -> None:
    with pytest.raises(CommandError) as caught:
        read(f"--{option}={value}")
    assert str(caught.value).startswith(f"--{option} is ")
    assert str(caught.value).endswith(f"; it must be {expected}.")


@pytest.mark.parametrize(
    ("option", "value"),
    [("processes", "two"), ("threads", "1.5"), ("idle-interval", "1s")],
)
def test_an_option_of_a_wrong_type_is_named(option: str, value: str) -> None:
    with pytest.raises(CommandError, match=rf"argument --{option}: invalid (int|float) value"):
        read(f"--{option}={value}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PROCESSES", 0),
        ("PROCESSES", "2"),
        ("THREADS", 1.5),
        ("MAX_CONNECTIONS", 0),
        ("MAX_CONNECTIONS", {}),
        ("MAX_CONNECTIONS", {"default": None}),
        ("MAX_CONNECTIONS", {1: 1}),
        ("IDLE_INTERVAL", math.nan),
        ("GRACEFUL_TIMEOUT", None),
        ("THREADS", True),
    ],
)
def test_a_wrong_setting_is_named_by_its_key(settings: Settings, key: str, value: Any) -> None:
    settings.POOLDAEMON = {key: value}
    with pytest.raises(CommandError) as caught:
        read()
    assert str(caught.value).startswith(f"settings.POOLDAEMON['{key}'] is {value!r}; it must be ")


def test_a_wrong_class_attribute_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "threads", 0)
    with pytest.raises(CommandError, match=r"Command\.threads is 0; it must be a whole number"):
        read()


@pytest.mark.parametrize(
    ("given", "meant"),
    [("PROCESES", "PROCESSES"), ("THREAD", "THREADS"), ("processes", "PROCESSES")],
)
def test_an_unknown_setting_is_named_with_the_nearest(
    settings: Settings, given: str, meant: str
) -> None:
    settings.POOLDAEMON = {given: 1}
    with pytest.raises(CommandError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"settings.POOLDAEMON['{given}'] is not a setting.")
    assert f"Did you mean {meant!r}?" in message
    assert "Valid: BOOT_TIMEOUT, " in message


@pytest.mark.parametrize("wrong", [None, "PROCESSES=2", 5, ["PROCESSES"]])
def test_settings_that_are_no_dict_are_refused(settings: Settings, wrong: Any) -> None:
    settings.POOLDAEMON = wrong
    with pytest.raises(CommandError, match=r"settings\.POOLDAEMON is .*; it must be a dict\."):
        pooldaemon_settings()


def test_without_settings_there_are_none(settings: Settings) -> None:
    del settings.POOLDAEMON
    assert pooldaemon_settings() == {}


def test_what_was_read_can_be_changed_without_changing_the_settings(settings: Settings) -> None:
    settings.POOLDAEMON = {"PROCESSES": 2}
    pooldaemon_settings().clear()
    assert settings.POOLDAEMON == {"PROCESSES": 2}


def test_a_daemon_without_perform_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"Command needs a perform\(self, ctx\)"):
        Command().perform(None)  # type: ignore[arg-type]


# -- rundaemon's target -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nodots", "the target 'nodots' can't be imported: "),
        ("no_such_module.work", "the target 'no_such_module.work' can't be imported: No module"),
        ("math.no_such_name", "the target 'math.no_such_name' can't be imported: "),
        ("math.pi", "the target 'math.pi' is not callable: it is float"),
        (".work", "the target '.work' can't be imported: "),
        ("math.", "the target 'math.' can't be imported: "),
    ],
)
def test_a_target_that_cannot_be_run_is_named(target: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("rundaemon", target)
    assert str(caught.value).startswith(message)


def test_without_a_target_the_command_says_where_to_give_one() -> None:
    with pytest.raises(CommandError, match=r"needs a target: .*settings\.POOLDAEMON\['TARGET'\]"):
        call_command("rundaemon")


@pytest.mark.parametrize("target", [5, math.sqrt, ["math.sqrt"]])
def test_a_target_in_the_settings_that_is_no_path_is_refused(
    settings: Settings, target: Any
) -> None:
    settings.POOLDAEMON = {"TARGET": target}
    with pytest.raises(CommandError, match=r"TARGET|target"):
        call_command("rundaemon", processes=0)

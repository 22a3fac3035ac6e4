"""OPTIONS["pool"]: what is accepted, and what a mistake gets to read."""

from typing import Any

import pytest
import sqlalchemy.pool

from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.config import PoolConfig, read_pool_config
from pooldaemon.pool.queue.pool import FairQueuePool

WHERE = "DATABASES['shop']['OPTIONS']['pool']"


class UnlimitedPool(sqlalchemy.pool.NullPool):
    """A class of a user's own, without a cap."""


class CappedPool(sqlalchemy.pool.QueuePool):
    """A class of a user's own, whose cap can be set."""

    def __init__(self, creator: Any, tags: Any = (), **kw: Any) -> None:
        super().__init__(creator, **kw)
        self.tags = tags


def placed(arguments: dict[str, Any] | None) -> dict[str, tuple[str, Any]]:
    """Historic arguments, each with the place where it was given."""
    given = (arguments or {}).items()
    return {key: (f"MYSQLPOOL_ARGUMENTS[{key!r}]", value) for key, value in given}


def read(options: Any, historic: dict[str, Any] | None = None) -> PoolConfig:
    config = read_pool_config("shop", options, placed(historic))
    assert config is not None
    return config


def refusal(options: Any, historic: dict[str, Any] | None = None) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        read_pool_config("shop", options, placed(historic))
    return str(caught.value)


@pytest.mark.parametrize("options", [None, True, {}])
def test_without_settings_the_pool_is_ours_with_its_defaults(options: Any) -> None:
    config = read(options)
    assert config.poolclass is FairQueuePool
    assert dict(config.arguments) == {"recycle": 1800.0, "max_idle": 600.0}
    assert (config.reset, config.ping_after) == ("dirty", 30.0)


def test_false_means_no_pool() -> None:
    assert read_pool_config("shop", False) is None


@pytest.mark.parametrize("options", ["yes", 10, [("pool_size", 5)], 1, 0])
def test_settings_that_are_no_dict_are_refused(options: Any) -> None:
    assert refusal(options) == f"{WHERE} is {options!r}; it must be a dict, True or False."


@pytest.mark.parametrize(
    ("key", "value"),
    [("pool_size", value) for value in (0, -1, "ten", 2.5, True, None, 100_001)]
    + [("max_overflow", value) for value in (-1, "1", None)]
    + [("timeout", value) for value in (-1, "5", None, float("nan"), float("inf"))]
    + [("recycle", value) for value in (0, -2, "3600", None)]
    + [("max_idle", value) for value in (0, -2, None)]
    + [("max_waiting", value) for value in (-1, 1.5, "many")]
    + [("use_lifo", value) for value in (1, 0, "yes", None)]
    + [("ping_after", value) for value in (-1, None, "30")]
    + [("reset", value) for value in ("sometimes", True, None)]
    + [("mode", value) for value in ("statement", "Transaction", True, None)],
)
def test_a_wrong_value_is_refused_with_its_place_and_the_range(key: str, value: Any) -> None:
    message = refusal({key: value})
    assert message.startswith(f"{WHERE}['{key}'] is {value!r}; it must be ")
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pool_size", 1),
        ("max_overflow", 0),
        ("timeout", 0),
        ("recycle", -1),
        ("max_idle", -1),
        ("max_waiting", None),
        ("max_waiting", 0),
        ("use_lifo", False),
        ("recycle", 1),
    ],
)
def test_values_at_the_edge_are_accepted(key: str, value: Any) -> None:
    assert dict(read({key: value}).arguments)[key] == value


def test_transaction_mode_and_a_reset_every_time_are_refused_together() -> None:
    message = refusal({"mode": "transaction", "reset": "always"})
    assert message.startswith(f"{WHERE}['mode'] is 'transaction', but 'reset' is 'always': ")
    assert read({"mode": "transaction", "reset": "never"}).mode == "transaction"


def test_settings_of_sessions_do_not_reach_the_class_of_the_pool() -> None:
    config = read({"reset": "always", "ping_after": 5, "poolclass": "NullPool"})
    assert (config.reset, config.ping_after, config.arguments) == ("always", 5, ())


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("pool_sise", "pool_size"),
        ("max_overlow", "max_overflow"),
        ("time_out", "timeout"),
        ("poolclas", "poolclass"),
        ("max_wait", "max_waiting"),
        ("recyle", "recycle"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_valid_one(given: str, meant: str) -> None:
    message = refusal({given: 5})
    assert message.startswith(f"{WHERE}[{given!r}] is not a setting of FairQueuePool.")
    assert f"Did you mean {meant!r}?" in message
    assert "Valid: poolclass, " in message


def test_a_key_that_is_no_word_is_refused_too() -> None:
    assert refusal({7: 5}).startswith(f"{WHERE}[7] is not a setting of FairQueuePool.")


@pytest.mark.parametrize(
    ("name", "poolclass"),
    [
        ("FairQueuePool", FairQueuePool),
        ("QueuePool", sqlalchemy.pool.QueuePool),
        ("NullPool", sqlalchemy.pool.NullPool),
        ("SingletonThreadPool", sqlalchemy.pool.SingletonThreadPool),
        ("AssertionPool", sqlalchemy.pool.AssertionPool),
        ("sqlalchemy.pool.QueuePool", sqlalchemy.pool.QueuePool),
        (f"{__name__}.UnlimitedPool", UnlimitedPool),
        (UnlimitedPool, UnlimitedPool),
    ],
)
def test_a_class_is_found_by_name_dotted_path_or_itself(name: Any, poolclass: type[Any]) -> None:
    assert read({"poolclass": name}).poolclass is poolclass


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("QuePool", "there is no pool class 'QuePool'. Did you mean 'QueuePool'? Valid: Fair"),
        ("Nope", "there is no pool class 'Nope'. Valid: FairQueuePool, QueuePool, "),
        ("no_such_module.Pool", "'no_such_module.Pool' can't be imported: No module named"),
        ("sqlalchemy.pool.Nope", "'sqlalchemy.pool.Nope' can't be imported: "),
        ("collections.deque", "'collections.deque' is not a class of SQLAlchemy pool."),
        (dict, "<class 'dict'> is not a class of SQLAlchemy pool."),
        (5, "5 is not a class of SQLAlchemy pool."),
        (None, "None is not a class of SQLAlchemy pool."),
        ("StaticPool", "StaticPool can't be used: it is one connection for all threads."),
        ("sqlalchemy.pool.StaticPool", "StaticPool can't be used: it is one connection"),
        (sqlalchemy.pool.StaticPool, "StaticPool can't be used: it is one connection"),
        ("AsyncAdaptedQueuePool", "AsyncAdaptedQueuePool can't be used: it is for asyncio"),
        ("sqlalchemy.pool.AsyncAdaptedQueuePool", "AsyncAdaptedQueuePool can't be used"),
    ],
)
def test_a_class_that_cannot_be_used_is_refused_with_the_reason(given: Any, message: str) -> None:
    assert refusal({"poolclass": given}).startswith(f"{WHERE}['poolclass']: {message}")


def test_a_subclass_of_a_refused_class_is_refused() -> None:
    class Mine(sqlalchemy.pool.StaticPool):
        pass

    assert "StaticPool can't be used" in refusal({"poolclass": Mine})


@pytest.mark.parametrize(
    ("poolclass", "key", "value"),
    [
        ("QueuePool", "pool_size", 0),
        ("QueuePool", "max_overflow", -1),
        ("QueuePool", "recycle", 0),
        ("SingletonThreadPool", "pool_size", 3),
        ("NullPool", "recycle", 60),
        (f"{__name__}.CappedPool", "tags", "x"),
    ],
)
def test_classes_of_sqlalchemy_keep_their_own_meanings(
    poolclass: str, key: str, value: Any
) -> None:
    assert dict(read({"poolclass": poolclass, key: value}).arguments)[key] == value


@pytest.mark.parametrize(
    ("poolclass", "key"),
    [
        ("QueuePool", "max_waiting"),
        ("NullPool", "pool_size"),
        ("SingletonThreadPool", "timeout"),
        ("AssertionPool", "max_overflow"),
        ("QueuePool", "creator"),
        ("QueuePool", "dialect"),
        ("QueuePool", "reset_on_return"),
        ("QueuePool", "events"),
        ("FairQueuePool", "creator"),
        ("FairQueuePool", "echo"),
    ],
)
def test_a_setting_that_the_class_does_not_have_is_refused(poolclass: str, key: str) -> None:
    message = refusal({"poolclass": poolclass, key: 1})
    assert message.startswith(f"{WHERE}['{key}'] is not a setting of {poolclass}.")


@pytest.mark.parametrize("value", [-2, "5", None])
def test_impossible_values_are_refused_for_classes_of_sqlalchemy_too(value: Any) -> None:
    for key in ("pool_size", "max_overflow", "recycle"):
        message = refusal({"poolclass": "QueuePool", key: value})
        assert message.startswith(f"{WHERE}['{key}'] is {value!r}; it must be ")


def test_historic_arguments_are_defaults_under_the_options() -> None:
    historic = {"poolclass": "QueuePool", "pool_size": 3, "recycle": 60}
    config = read({"pool_size": 7}, historic)
    assert config.poolclass is sqlalchemy.pool.QueuePool
    assert dict(config.arguments) == {"pool_size": 7, "recycle": 60}


def test_options_name_the_class_before_historic_arguments_do() -> None:
    assert read({"poolclass": "NullPool"}, {"poolclass": "QueuePool"}).poolclass is (
        sqlalchemy.pool.NullPool
    )


def test_a_wrong_historic_argument_is_named_by_its_own_setting() -> None:
    assert refusal({}, {"pool_size": 0}).startswith("MYSQLPOOL_ARGUMENTS['pool_size'] is 0; ")
    assert refusal({}, {"poolsize": 1}).startswith("MYSQLPOOL_ARGUMENTS['poolsize'] is not a ")
    assert refusal({}, {"poolclass": "X"}).startswith("MYSQLPOOL_ARGUMENTS['poolclass']: there")


def test_false_switches_the_pool_off_whatever_historic_settings_say() -> None:
    assert read_pool_config("shop", False, placed({"pool_size": 3})) is None


def test_equal_settings_give_equal_configurations() -> None:
    assert read({"pool_size": 3, "timeout": 5}) == read({"timeout": 5, "pool_size": 3})
    assert read({"pool_size": 3}) != read({"pool_size": 4})


# -- a limit from the command line ------------------------------------------------------


@pytest.mark.parametrize("poolclass", ["FairQueuePool", "QueuePool", f"{__name__}.CappedPool"])
def test_a_limit_sets_the_cap_of_a_class_that_has_one(poolclass: str) -> None:
    config = read({"poolclass": poolclass, "pool_size": 50, "max_overflow": 9, "timeout": 7})
    limited = config.limited_to(2)
    assert limited.poolclass is config.poolclass
    arguments = dict(limited.arguments)
    assert (arguments["pool_size"], arguments["max_overflow"], arguments["timeout"]) == (2, 0, 7)


@pytest.mark.parametrize("poolclass", ["NullPool", "SingletonThreadPool", UnlimitedPool])
def test_a_class_without_a_cap_gives_way_to_ours(poolclass: Any) -> None:
    limited = read({"poolclass": poolclass, "reset": "always"}).limited_to(2)
    assert limited.poolclass is FairQueuePool
    assert dict(limited.arguments) == {
        "pool_size": 2,
        "max_overflow": 0,
        "recycle": 1800.0,
        "max_idle": 600.0,
    }
    assert limited.reset == "always"


def test_a_class_that_never_has_more_than_one_stays() -> None:
    config = read({"poolclass": "AssertionPool"})
    assert config.limited_to(2) is config

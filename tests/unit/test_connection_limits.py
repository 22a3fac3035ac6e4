"""What the workers may open, compared with what servers allow."""

import pytest
from pytest_django import Settings

from pooldaemon.management.limits import compare
from pooldaemon.sessions import ServerLimits


@pytest.fixture(autouse=True)
def no_settings(settings: Settings) -> None:
    settings.POOLDAEMON = {}


def room(
    alias: str,
    server: str = "db:3306",
    account: str = "shop@%",
    pool: int = 0,
    cap: int | None = 4,
    allowed: tuple[int, int] = (100, 0),
) -> ServerLimits:
    return ServerLimits(alias, server, account, pool or hash(alias), cap, *allowed)


def test_what_fits_is_not_reported() -> None:
    assert compare([room("default", allowed=(9, 9))], 2) == []


def test_each_limit_that_is_exceeded_is_reported_with_the_numbers() -> None:
    sums = (
        "default: 2 processes with up to 4 connections each, and 1 for helper processes, need 9, "
        "but the server allows"
    )
    assert compare([room("default", allowed=(8, 7))], 2) == [
        f"{sums} 8 (max_connections)",
        f"{sums} 7 (max_user_connections)",
    ]


def test_databases_of_one_server_are_added_up_and_those_of_others_are_not() -> None:
    rooms = [
        room("default", allowed=(17, 0)),
        room("replica", "other:3306", allowed=(17, 0)),
        room("reports", allowed=(17, 0)),
    ]
    (message,) = compare(rooms, 2)
    assert message == (
        "default, reports: 2 processes with up to 8 connections each, and 2 for helper processes, "
        "need 18, but the server allows 17 (max_connections)"
    )


def test_each_account_has_its_own_limit() -> None:
    rooms = [
        room("default", account="shop@%", allowed=(100, 9)),
        room("reports", account="reader@%", allowed=(100, 8)),
    ]
    (message,) = compare(rooms, 2)
    assert message.startswith("reports: 2 processes with up to 4 connections each, ")


def test_databases_that_share_a_pool_count_once() -> None:
    rooms = [room(alias, pool=7, allowed=(9, 0)) for alias in ("default", "same")]
    assert compare(rooms, 2) == []


def test_the_limit_of_all_pools_of_a_process_counts_where_it_is_lower(settings: Settings) -> None:
    rooms = [room(alias, allowed=(12, 0)) for alias in ("default", "reports")]
    assert len(compare(rooms, 2)) == 1
    settings.POOLDAEMON = {"MAX_PROCESS_CONNECTIONS": 5}
    assert compare(rooms, 2) == []
    (message,) = compare(rooms, 3)
    assert (
        "3 processes with up to 5 connections each (MAX_PROCESS_CONNECTIONS), and 2 for" in message
    )


def test_a_pool_without_a_cap_is_compared_only_by_the_limit_of_the_process(
    settings: Settings,
) -> None:
    rooms = [room("default", cap=None, allowed=(8, 0))]
    assert compare(rooms, 100) == []
    settings.POOLDAEMON = {"MAX_PROCESS_CONNECTIONS": 4}
    (message,) = compare(rooms, 2)
    assert message.startswith(
        "default: 2 processes with up to 4 connections each (MAX_PROCESS_CONNECTIONS), "
    )

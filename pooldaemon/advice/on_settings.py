"""Rules that need only the settings."""

from __future__ import annotations

from collections.abc import Iterator

from pooldaemon.advice.case import Case
from pooldaemon.advice.rules import Book, Found

RULES = Book()
DEPLOY = Book()
"""For ``check --deploy``."""

OURS = "pooldaemon.backends.mysql"

LONGEST_CONNECT = 60
"""Seconds. Longer than anybody waits for a connection."""


@RULES.rule("E003")
def pool_settings_beside_an_engine_that_has_no_pool(case: Case) -> Iterator[Found]:
    for database in case.databases:
        if database.vendor == "mysql" and not database.is_ours and "pool" in database.options:
            engine = database.settings["ENGINE"]
            yield Found(
                database.alias,
                f"{database.pool_place} is set, but ENGINE is {engine!r}, which has no pool: the "
                "driver will refuse the option.",
                f"Set ENGINE to {OURS!r}.",
            )


@RULES.rule("W003")
def an_engine_without_a_pool_beside_ours(case: Case) -> Iterator[Found]:
    ours = [database for database, _ in case.pooled if database.vendor == "mysql"]
    for database in case.databases:
        if database.is_ours or database.vendor != "mysql":
            continue
        for other in ours:
            if database.address == other.address:
                yield Found(
                    database.alias,
                    f"{database.place}['ENGINE'] is {database.settings['ENGINE']!r}, without a "
                    f"pool, on the server of {other.alias!r}: no cap limits its connections.",
                    f"Set ENGINE to {OURS!r} for both.",
                )
                break


@RULES.rule("W004")
def a_cap_that_the_limit_of_the_process_never_allows(case: Case) -> Iterator[Found]:
    limit = case.max_process
    for database, _ in case.pooled:
        if limit is not None and database.cap is not None and database.cap > limit:
            yield Found(
                database.alias,
                f"settings.POOLDAEMON['MAX_PROCESS_CONNECTIONS'] is {limit}, so the pool can never "
                f"reach its cap of {database.cap} connections.",
                f"Set {database.pool_place}['pool_size'] with max_overflow to at most {limit}, or "
                f"MAX_PROCESS_CONNECTIONS to at least {database.cap}.",
            )


@RULES.rule("W005")
def a_connect_that_may_take_for_ever(case: Case) -> Iterator[Found]:
    for database in case.databases:
        timeout = database.options.get("connect_timeout", 1)
        right = isinstance(timeout, (int, float)) and 0 < timeout <= LONGEST_CONNECT
        if database.is_ours and database.vendor == "mysql" and not right:
            yield Found(
                database.alias,
                f"{database.place}['OPTIONS']['connect_timeout'] is {timeout!r}: a server that "
                "does not answer may block a thread and one of the pool's connections for too "
                "long.",
                "Delete it for the default of 10 seconds, or set it to a number of seconds from 1 "
                f"to {LONGEST_CONNECT}.",
            )


@RULES.rule("W006")
def autocommit_off(case: Case) -> Iterator[Found]:
    for database, config in case.pooled:
        # In transaction mode this is W002.
        if not database.settings["AUTOCOMMIT"] and config.mode == "session":
            yield Found(
                database.alias,
                f"{database.place}['AUTOCOMMIT'] is False: each query begins a transaction, which "
                "keeps its locks until the connection is returned, and is then rolled back, "
                "which costs a round trip.",
                "Delete it, and use atomic() for transactions.",
            )


@RULES.rule("W007")
def transaction_mode_where_each_request_is_one(case: Case) -> Iterator[Found]:
    for database, config in case.pooled:
        if config.mode == "transaction" and database.settings["ATOMIC_REQUESTS"]:
            yield Found(
                database.alias,
                f"{database.place}['ATOMIC_REQUESTS'] is True: a request keeps its connection "
                "until it ends, so 'mode': 'transaction' has no effect in views.",
                "Set ATOMIC_REQUESTS to False and use atomic() where it is needed, or mode to "
                "'session'.",
            )


@DEPLOY.rule("W008")
def encryption_that_is_not_demanded(case: Case) -> Iterator[Found]:
    for database in case.databases:
        if not database.is_ours or database.vendor != "mysql" or not database.is_remote:
            continue
        mode = str(database.options.get("ssl_mode", ""))
        if not database.options.get("ssl") and mode.upper() not in {
            "REQUIRED",
            "VERIFY_CA",
            "VERIFY_IDENTITY",
        }:
            yield Found(
                database.alias,
                f"{database.place} is on {database.settings['HOST']} and does not require TLS: "
                "logins and all data may cross the network without encryption.",
                f"Set {database.place}['OPTIONS']['ssl'] to {{'ca': …}}, or 'ssl_mode' to "
                "'VERIFY_IDENTITY' or 'REQUIRED'.",
            )

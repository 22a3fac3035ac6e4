"""Rules that compare the settings with the configuration of servers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import groupby

from pooldaemon.advice.case import Case, Database, Server
from pooldaemon.advice.rules import Book, Found
from pooldaemon.conf import count

RULES = Book()

IDLE_SHARE = 0.9
"""Fraction of ``wait_timeout`` that is recommended as a connection's lifetime or idle time."""

STRICT_ISOLATION = ("REPEATABLE-READ", "SERIALIZABLE")

OLDEST = {"MySQL": (8, 4), "MariaDB": (10, 11)}
"""The oldest versions that are still maintained."""


@RULES.rule("W009")
def more_connections_than_the_server_allows(case: Case) -> Iterator[Found]:
    served = sorted(case.served, key=lambda one: (one[1].name, one[1].account))
    for _, group in groupby(served, key=lambda one: one[1].name):
        there = list(group)
        yield from _judge(case, "max_connections", there)
        for _, own in groupby(there, key=lambda one: one[1].account):
            yield from _judge(case, "max_user_connections", list(own))


def _judge(case: Case, variable: str, there: list[tuple[Database, Server]]) -> Iterator[Found]:
    databases, server = [database for database, _ in there], there[0][1]
    if not (limit := server.number(variable)):
        return
    pools = [
        database
        for number, database in enumerate(databases)
        if not any(database.shares_pool_with(other) for other in databases[:number])
    ]
    needed, reserve, parts = 0, 0, []
    for some in case.processes:
        each = sum(some.cap(database) for database in pools)
        each = each if case.max_process is None else min(each, case.max_process)
        if some.count and each:
            reserve += some.reserve * len(pools)
            needed += some.count * each
            parts.append(f"{some.name}: {count(some.count, 'process')} with {each} each")
    if (needed := needed + reserve) <= limit:
        return
    parts += [f"{reserve} for helper processes"] if reserve else []
    processes = sum(some.count for some in case.processes)
    fits = (limit - reserve) // (processes * len(pools))
    smaller = f"pool_size (for daemons max_connections) to at most {fits}, or " if fits > 0 else ""
    yield Found(
        ", ".join(database.alias for database in databases),
        f"The server {server.name} allows {limit} connections ({variable}), but {needed} may be "
        f"opened: {'; '.join(parts)}.",
        f"Set {smaller}the server's {variable} to at least {needed}, or use fewer processes.",
    )


@RULES.rule("W010")
def connections_that_the_server_ends_first(case: Case) -> Iterator[Found]:
    for database, server in case.served:
        if database.config is None or database.cap is None:
            continue
        limit = server.number("wait_timeout")
        recycle, max_idle = _lifetime(database, "recycle"), _lifetime(database, "max_idle")
        if limit < recycle < math.inf:
            key, value = "recycle", recycle
        elif min(recycle, max_idle) > limit:
            key, value = "max_idle", max_idle
        else:
            continue
        said = "unlimited" if value == math.inf else f"{value:g} s"
        yield Found(
            database.alias,
            f"The server ends connections that have been idle for {limit} s (wait_timeout), but "
            f"{key} is {said}: the pool would keep them for longer.",
            f"Set {database.pool_place}[{key!r}] to {max(1, int(limit * IDLE_SHARE))}, or the "
            "server's wait_timeout higher.",
        )


def _lifetime(database: Database, key: str) -> float:
    seconds: float = database.pool_setting(key)
    return math.inf if seconds < 0 else seconds


@RULES.rule("W011")
def strict_isolation(case: Case) -> Iterator[Found]:
    for database, server in case.served:
        level = server.variables["isolation"]
        if level in STRICT_ISOLATION:
            yield Found(
                database.alias,
                f"The isolation level is {level}: transactions lock the gaps between rows, which "
                "causes deadlocks, and keep seeing rows as they were at the first query.",
                f"Delete {database.place}['OPTIONS']['isolation_level'], and what sets it in "
                "init_command, for Django's 'read committed'; or silence this if you need it.",
            )


@RULES.rule("W012")
def three_bytes_for_a_character(case: Case) -> Iterator[Found]:
    for database, server in case.served:
        connection = server.variables["character_set_connection"]
        schema = server.variables["character_set_database"]
        if connection != "utf8mb4":
            yield Found(
                database.alias,
                f"The connection's character set is {connection}, which can't hold all of "
                "Unicode, such as emoji.",
                f"Set {database.place}['OPTIONS']['charset'] to 'utf8mb4'.",
            )
        if schema != "utf8mb4":
            name = database.settings["NAME"]
            yield Found(
                database.alias,
                f"New tables of the database {name} have the character set {schema}, which can't "
                "hold all of Unicode, such as emoji.",
                f"Run ALTER DATABASE `{name}` CHARACTER SET utf8mb4, and convert its tables.",
            )


@RULES.rule("W013")
def hidden_code(case: Case) -> Iterator[Found]:
    for database, server in case.served:
        config, code = database.config, server.code
        if config is None or config.reset != "dirty" or config.hidden_code != "prove":
            continue
        in_transaction_mode = config.mode == "transaction"
        effect = "keeps and resets its connection" if in_transaction_mode else "resets its session"
        place = f"{database.pool_place}['hidden_code']"
        trust = f"if they leave nothing on a session, set {place} to 'harmless'."
        schema, account = f"`{database.settings['NAME']}`.*", _quoted(server.account)
        grant = f"GRANT {', '.join(code.unseen) or 'TRIGGER'} ON {schema} TO {account}"
        if code.all_writes or code.everything:
            yield Found(
                database.alias,
                f"The account {server.account} can't see the triggers of tables that it may write: "
                f"every unit of work that writes {effect}.",
                f"{grant}; or, {trust}",
            )
        elif code.suspects and code.unseen:
            yield Found(
                database.alias,
                f"The account {server.account} can't see the definitions of {code}: every unit of "
                f"work that names one of them {effect}.",
                f"{grant}; or, {trust}",
            )
        elif code.suspects and in_transaction_mode:  # in session mode, the resets are needed
            yield Found(
                database.alias,
                f"It can't be proven that {code} leave nothing on a session: every unit of work "
                f"that names one of them {effect}.",
                f"Check their triggers, views and functions; {trust}",
            )


def _quoted(account: str) -> str:
    user, _, host = account.rpartition("@")
    return f"'{user}'@'{host}'"


@RULES.rule("W014")
def an_old_server(case: Case) -> Iterator[Found]:
    for database, server in case.served:
        version = server.variables["version"]
        product = "MariaDB" if "MariaDB" in version else "MySQL"
        # MariaDB may put 5.5.5- before its version, for old clients.
        number = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)", version)
        if number and tuple(map(int, number.groups())) < OLDEST[product]:
            oldest = ".".join(map(str, OLDEST[product]))
            yield Found(
                database.alias,
                f"The server is {product} {version}, which is not maintained any more and not "
                "supported by Django 6.1.",
                f"Upgrade it to {product} {oldest} or newer.",
            )

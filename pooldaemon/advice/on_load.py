"""Rules on load: counters of servers since their start, and of daemons' pools since theirs."""

from __future__ import annotations

from collections.abc import Iterator

from pooldaemon.advice.case import Case, PoolUse, Server
from pooldaemon.advice.rules import Book, Found
from pooldaemon.conf import count
from pooldaemon.stats import BOUNDS, Histogram

RULES = Book()

NEARLY_FULL = 0.85
"""Fraction of ``max_connections``."""

MANY, SHARE = 20, 0.05
"""Failures from which there is a message, and their fraction of all connections."""

ENOUGH = 100
"""Borrows from which statistics are significant."""

LONG_WAIT = 0.1
"""Seconds. This and the next two are bounds of the histograms."""

LONG_USE = 0.05

SLOW_CONNECT = 0.05

FORGOTTEN = 300.0
"""Seconds. A unit of work hardly ever needs its connection for so long."""

WIDE, FEW_USED = 20, 4
"""The cap from which there is a message, and how many times larger than the peak it has to be."""

SETTLED = 3600.0
"""Seconds after which a peak is significant."""


@RULES.rule("D001")
def plain_text_to_another_machine(case: Case) -> Iterator[Found]:
    for database, server in case.served:
        if database.is_remote and not server.cipher:
            yield Found(
                database.alias,
                f"The connection to {database.settings['HOST']} is not encrypted.",
                f"Set {database.place}['OPTIONS']['ssl'] to {{'ca': …}}, or 'ssl_mode' to "
                "'REQUIRED'.",
            )


@RULES.rule("D002")
def a_server_that_was_nearly_full(case: Case) -> Iterator[Found]:
    for aliases, server in _servers(case):
        limit, most = server.number("max_connections"), server.count("Max_used_connections")
        refused = server.count("Connection_errors_max_connections")
        if most >= NEARLY_FULL * limit or refused:
            yield Found(
                aliases,
                f"The server {server.name} has had {most} of its {limit} connections in use at "
                f"once, and has refused {refused} (max_connections).",
                "Lower pool_size or the number of processes of its clients, or raise the server's "
                f"max_connections above {limit}.",
            )


@RULES.rule("D003")
def logins_that_failed(case: Case) -> Iterator[Found]:
    for aliases, server in _servers(case):
        number, all_of_them = server.count("Aborted_connects"), server.count("Connections")
        if _are_many(number, all_of_them):
            yield Found(
                aliases,
                f"{number} of {all_of_them} connections to the server {server.name} failed before "
                "they were logged in (Aborted_connects).",
                "Raise log_warnings (MariaDB) or log_error_verbosity (MySQL) to see the clients in "
                "the server's log. Causes are a wrong password, a health check that only opens the "
                "port, or a connect_timeout that is too short.",
            )


@RULES.rule("D004")
def clients_that_went_without_a_word(case: Case) -> Iterator[Found]:
    for aliases, server in _servers(case):
        number, all_of_them = server.count("Aborted_clients"), server.count("Connections")
        if _are_many(number, all_of_them):
            yield Found(
                aliases,
                f"{number} of {all_of_them} connections to the server {server.name} were not "
                "closed properly (Aborted_clients).",
                "Stop processes with TERM rather than KILL, run your own threads in auto_close_db "
                "or close their connections, and set max_idle below wait_timeout, which is "
                f"{server.number('wait_timeout')} s.",
            )


@RULES.rule("D005")
def slow_connects(case: Case) -> Iterator[Found]:
    for use in case.uses:
        middle = use.connect.quantile(0.5)
        if use.connect.count < MANY or middle is None or middle <= SLOW_CONNECT:
            continue
        database = case.database(use.alias)
        server = database.server if database else None
        resolves = server is not None and not server.number("skip_name_resolve")
        yield Found(
            use.where,
            f"Half of {use.connect.count} connects took longer than "
            f"{_below(use.connect, 0.5):g} s.",
            (
                "Set the server's skip_name_resolve to ON: it looks up the name of each client. "
                * resolves
            )
            + "Raise recycle and max_idle, so that fewer connects are needed; check the network, "
            "and how the server's name is resolved.",
        )


@RULES.rule("D006")
def a_pool_that_is_too_small(case: Case) -> Iterator[Found]:
    for use in case.uses:
        if _is_too_small(use) and not _would_gain_by_transaction_mode(case, use):
            larger = min(use.threads, 2 * use.cap)
            advice = (
                f"Set {use.cap_place} so that a worker has {larger} connections, or use fewer "
                f"threads than {use.threads}."
            )
            if larger <= use.cap:  # threads alone do not fill it
                advice = (
                    "Look for units that borrow a second connection, or for a server that has "
                    "reached its limit of connections."
                )
            yield Found(use.where, _waits(use), advice)


@RULES.rule("D007")
def connections_held_through_slow_work(case: Case) -> Iterator[Found]:
    for use in case.uses:
        if _is_too_small(use) and _would_gain_by_transaction_mode(case, use):
            yield Found(
                use.where,
                f"{_waits(use)} Half of the borrowers held a connection for longer than "
                f"{_below(use.use, 0.5):g} s, and {use.threads} threads share {use.cap}.",
                f"Set DATABASES[{use.alias!r}]['OPTIONS']['pool']['mode'] to 'transaction', or "
                "call connection.close() before slow work.",
            )


@RULES.rule("D008")
def a_pool_that_is_too_large(case: Case) -> Iterator[Found]:
    for use in case.uses:
        settled = use.age >= SETTLED and use.use.count >= 10 * ENOUGH
        if settled and use.cap >= WIDE and use.peak * FEW_USED <= use.cap:
            yield Found(
                use.where,
                f"The cap is {use.cap}, but no worker has had more than "
                f"{count(use.peak, 'connection')} at a time, in {use.use.count} borrows.",
                f"Set {use.cap_place} so that a worker has {max(2, 2 * use.peak)} connections, "
                "which leaves more for other clients of the server.",
            )


@RULES.rule("D009")
def forgotten_connections(case: Case) -> Iterator[Found]:
    for use in case.uses:
        ended, (seconds, holder) = use.discards.get("thread ended", 0), use.oldest
        threads = count(ended, "thread")
        found = [f"{threads} ended without returning a connection."] * bool(ended)
        if seconds > FORGOTTEN:
            found.append(f"A connection has been held for {seconds:.0f} s by {holder}.")
        if found:
            yield Found(
                use.where,
                " ".join(found),
                "Run the work of your own threads in auto_close_db. Set "
                f"DATABASES[{use.alias!r}]['OPTIONS']['pool']['leak_threshold'] to 60 to log which "
                "threads hold a connection for more than 60 s.",
            )


@RULES.rule("D010")
def connects_that_fail(case: Case) -> Iterator[Found]:
    for use in case.uses:
        failed, connects = use.counters["connect_errors"], use.counters["connects"]
        if _are_many(failed, failed + connects):
            yield Found(
                use.where,
                f"{failed} of {failed + connects} attempts to connect failed.",
                "The log and PoolTimeout have the last error. 1040 and 1226: lower pool_size or "
                "raise the server's limit; 1045: check the password; 2002 and 2003: check HOST, "
                "PORT and the network.",
            )


@RULES.rule("D011")
def idle_connections_that_die(case: Case) -> Iterator[Found]:
    for use in case.uses:
        dead, connects = use.discards.get("dead", 0), use.counters["connects"]
        if dead >= MANY and dead * 2 > connects:
            yield Found(
                use.where,
                f"{dead} of {connects} connections were dead when they were borrowed: the server, "
                "a firewall or a proxy ends idle connections.",
                f"Set DATABASES[{use.alias!r}]['OPTIONS']['pool']['max_idle'] below that limit, "
                "or raise the limit, such as the server's wait_timeout.",
            )


@RULES.rule("D012")
def resets_of_nearly_every_session(case: Case) -> Iterator[Found]:
    for use in case.uses:
        database, resets = case.database(use.alias), use.counters["resets"]
        if database is None or database.config is None or database.config.reset != "dirty":
            continue
        code = None if database.server is None else database.server.code
        if code is None or code.hidden or code.suspects:  # W013 reports this
            continue
        if use.use.count >= ENOUGH and resets > 0.9 * use.use.count:
            yield Found(
                use.where,
                f"{resets} of {use.use.count} returns had to reset the session, which costs one "
                "or two round trips.",
                "Look for what units change in the session: SET, GET_LOCK, user variables, "
                "temporary tables, stored functions, SHOW, or a raw driver connection.",
            )


@RULES.rule("D013")
def a_pause_that_was_not_ended(case: Case) -> Iterator[Found]:
    for use in case.uses:
        if use.paused:
            resume = f"manage.py pooldaemon resume --daemon {use.daemon}"
            yield Found(use.where, "The pool is paused: no work is done.", f"Run {resume}.")


def _servers(case: Case) -> Iterator[tuple[str, Server]]:
    """Each server once, with the aliases of its databases."""
    found: dict[str, tuple[list[str], Server]] = {}
    for database, server in case.served:
        found.setdefault(server.name, ([], server))[0].append(database.alias)
    for aliases, server in found.values():
        yield ", ".join(aliases), server


def _are_many(number: int, all_of_them: int) -> bool:
    return number >= MANY and number > SHARE * all_of_them


def _is_too_small(use: PoolUse) -> bool:
    late = use.wait.quantile(0.99) or 0.0
    waits = use.wait.count >= ENOUGH and late > LONG_WAIT
    return waits or bool(use.counters["timeouts"] or use.counters["rejected"])


def _would_gain_by_transaction_mode(case: Case, use: PoolUse) -> bool:
    database = case.database(use.alias)
    if database is None or database.config is None or database.server is None:
        return False
    possible = database.config.mode == "session" and database.config.reset == "dirty"
    held = (use.use.quantile(0.5) or 0.0) > LONG_USE
    return possible and not database.server.code.hidden and held and use.threads >= 2 * use.cap


def _waits(use: PoolUse) -> str:
    timeouts, rejected = use.counters["timeouts"], use.counters["rejected"]
    waited = _below(use.wait, 0.99)
    late = f", 1 in 100 waited longer than {waited:g} s" if waited else ""
    return (
        f"With {count(use.cap, 'connection')} in a worker, {count(timeouts, 'borrow')} timed out, "
        f"and {rejected} failed at once because the queue was full{late}."
    )


def _below(times: Histogram, share: float) -> float:
    """The lower bound, in seconds, of the bucket that has the quantile."""
    upper = times.quantile(share) or 0.0
    return max((bound for bound in (0.0, *BOUNDS) if bound < upper), default=0.0)

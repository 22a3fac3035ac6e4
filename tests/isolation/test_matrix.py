"""Every kind of session state, left in every way: the next borrower sees nothing of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from django.db.utils import Error as DatabaseError
from MySQLdb import Error as DriverError

from tests.isolation.borrowing import Pooled
from tests.isolation.conftest import OpenPool
from tests.isolation.residues import STATE, TRANSACTIONS, Residue
from tests.isolation.state import State, differences, observe
from tests.isolation.ways import ALWAYS_POSSIBLE, WAYS, Way
from tests.mysql.scratch import Scratch
from tests.support.behind_router import SHARING
from tests.support.matrix import some
from tests.support.mode import MODES
from tests.support.server import Admin

pytestmark = pytest.mark.mysql

EVERYTHING = TRANSACTIONS | STATE

Leak = dict[str, tuple[Any, Any]]


def statements_of(residue: Residue, scratch: Scratch, *, mariadb: bool) -> list[str]:
    statements = residue.on(mariadb=mariadb, name=scratch.account.name)
    if not statements:
        pytest.skip("this server has no such thing")
    if SHARING and residue is STATE["resource group"]:
        pytest.skip("documented: MySQL Router does not isolate it")
    return statements


_attempts = count()


def with_new_xa_names(statements: list[str]) -> list[str]:
    """An XA name is taken until the server has ended the session that used it last."""
    start = f"'{next(_attempts)}"
    return [one.replace("'", start, 1) if one.startswith("XA ") else one for one in statements]


def leave(pool: Pooled, way: Way, statements: list[str]) -> bool:
    """One borrower. False: the server does not take the statement this way."""
    with pool.borrowed() as connection:
        try:
            for statement in with_new_xa_names(statements):
                way(connection, statement)
        except (DatabaseError, DriverError):
            return False
    return True


@pytest.fixture
def find_leaks(
    open_pool: OpenPool, pristine: State, mariadb: bool
) -> Callable[[Pooled, dict[str, Callable[[], bool]]], dict[str, Leak]]:
    def find(pool: Pooled, borrowers: dict[str, Callable[[], bool]]) -> dict[str, Leak]:
        """Let each borrow, and look at the session after each; which ones could be seen?"""
        leaks: dict[str, Leak] = {}
        for name, borrow in borrowers.items():
            # Of those that the server refused, half may have been done.
            borrow()
            with pool.borrowed() as connection:
                leaked = differences(pristine, observe(connection, mariadb=mariadb))
            if leaked:
                leaks[name] = leaked
        return leaks

    return find


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", EVERYTHING)
def test_each_kind_can_be_seen_by_the_one_who_left_it(
    open_pool: OpenPool, pristine: State, plain: Scratch, mariadb: bool, kind: str, mode: str
) -> None:
    statements = statements_of(EVERYTHING[kind], plain, mariadb=mariadb)
    pool = open_pool(mode=mode)
    for way in ALWAYS_POSSIBLE:
        with pool.borrowed() as connection:
            for statement in with_new_xa_names(statements):
                WAYS[way](connection, statement)
            try:
                seen = differences(pristine, observe(connection, mariadb=mariadb))
            except (DatabaseError, DriverError):
                continue  # so much is left that one can't even look
            assert seen, f"{way} left nothing to see"


@pytest.mark.parametrize(
    "options", [{"reset": "dirty"}, {"reset": "always"}, {"mode": "transaction"}], ids=str
)
@pytest.mark.parametrize("kind", EVERYTHING)
def test_it_is_gone_for_the_next_borrower(
    open_pool: OpenPool,
    find_leaks: Any,
    plain: Scratch,
    mariadb: bool,
    kind: str,
    options: dict[str, str],
) -> None:
    statements = statements_of(EVERYTHING[kind], plain, mariadb=mariadb)
    pool = open_pool(**options)
    if "always" not in options.values():
        pool.run("SELECT a FROM t")
        assert pool.stats.resets == 0, "hidden code: this would test nothing"
    if options == {"reset": "always"}:  # then the way does not matter
        ways = [*ALWAYS_POSSIBLE]
    else:
        # The statement is judged wherever it comes from: each kind goes some of the ways.
        spread = some(WAYS, 6, first=[*EVERYTHING].index(kind))
        ways = [*dict.fromkeys([*ALWAYS_POSSIBLE, *spread])]
    leaks = find_leaks(
        pool, {name: lambda way=WAYS[name]: leave(pool, way, statements) for name in ways}
    )
    assert leaks == {}


@pytest.mark.parametrize("kind", TRANSACTIONS)
def test_transactions_end_even_if_nothing_is_reset(
    open_pool: OpenPool, find_leaks: Any, plain: Scratch, mariadb: bool, kind: str
) -> None:
    statements = statements_of(TRANSACTIONS[kind], plain, mariadb=mariadb)
    pool = open_pool(reset="never")
    borrowers = {name: lambda w=WAYS[name]: leave(pool, w, statements) for name in ALWAYS_POSSIBLE}
    leaks = find_leaks(pool, borrowers)
    # Observing leaves things behind too, and here they stay.
    ended = {"in a transaction", "driver's autocommit", "@@autocommit", "LOCK TABLES"}
    assert {name for leak in leaks.values() for name in leak} & ended == set()


def reads_with_locks(connection: Any, admin: Admin) -> bool:
    """Whether its next transaction is SERIALIZABLE: then it locks what it reads."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT a FROM seventeen")
        table = f"{connection.settings_dict['NAME']}.seventeen"
        try:
            admin.query(f"SELECT a FROM {table} FOR UPDATE NOWAIT")
        except DriverError:
            return True
        finally:
            cursor.execute("ROLLBACK")
    return False


def refuses_to_write(connection: Any, _admin: Admin) -> bool:
    """Whether its next transaction is READ ONLY."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute("INSERT INTO numbers (a) VALUES (1)")
        except DatabaseError:
            return True
        finally:
            cursor.execute("ROLLBACK")
    return False


@pytest.mark.parametrize("reset", ["dirty", "always"])
@pytest.mark.parametrize(
    ("statement", "is_seen"),
    [
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", reads_with_locks),
        ("SET TRANSACTION READ ONLY", refuses_to_write),
    ],
    ids=["isolation", "read only"],
)
def test_what_was_to_hold_for_the_next_transaction_does_not_hold_for_the_next_borrowers(
    open_pool: OpenPool,
    plain: Scratch,
    statement: str,
    is_seen: Callable[[Any, Admin], bool],
    reset: str,
) -> None:
    pool = open_pool(reset=reset)
    for name, way in WAYS.items():
        leave(pool, way, [statement])
        with pool.borrowed() as connection:
            assert not is_seen(connection, plain.admin), name
    with pool.borrowed() as connection:
        WAYS["plain"](connection, statement)
        assert is_seen(connection, plain.admin), "there was nothing to see"


@contextmanager
def stored_procedure(scratch: Scratch, statements: list[str]) -> Iterator[bool]:
    """A procedure of them; False if the server allows no such procedure."""
    name, body = scratch.account.name, "; ".join(statements)
    try:
        scratch.admin.query(
            f"CREATE PROCEDURE {name}.leave_it () SQL SECURITY INVOKER BEGIN {body}; END"
        )
    except DriverError:
        yield False
        return
    try:
        yield True
    finally:
        scratch.admin.query(f"DROP PROCEDURE {name}.leave_it")


def call(pool: Pooled) -> bool:
    return leave(pool, WAYS["plain"], ["CALL leave_it()"])


def callproc(pool: Pooled) -> bool:
    with pool.borrowed() as connection, connection.cursor() as cursor:
        cursor.callproc("leave_it")
    return True


def raw_callproc(pool: Pooled) -> bool:
    with pool.borrowed() as connection:
        connection.connection.cursor().callproc("leave_it")
    return True


@pytest.mark.parametrize("kind", EVERYTHING)
def test_it_is_gone_if_a_procedure_left_it(
    open_pool: OpenPool, find_leaks: Any, plain: Scratch, mariadb: bool, kind: str
) -> None:
    statements = statements_of(EVERYTHING[kind], plain, mariadb=mariadb)
    pool = open_pool()
    leaks: dict[str, Leak] = {}
    for borrow in (call, callproc, raw_callproc):
        with stored_procedure(plain, with_new_xa_names(statements)) as possible:
            if not possible:
                pytest.skip("not in procedures")
            if kind in {"resource group", "profiling"}:
                pytest.skip("documented: of a procedure's doing this stays")
            leaks |= find_leaks(pool, {borrow.__name__: lambda one=borrow: one(pool)})
    assert leaks == {}

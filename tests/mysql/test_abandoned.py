"""Sessions that were given up in a network failure are ended once the server can be reached."""

import socket

import MySQLdb
import pytest
from django.db import connections

from pooldaemon.connections import close_pool
from pooldaemon.pool.drivers.mysql.abandoned import Abandoned
from tests.mysql.scratch import Account, Scratch
from tests.mysql.use import fetch
from tests.support.poll import wait_until
from tests.unit.databases import AddDatabase

DEADLINE = 10.0


def _session(account: Account) -> tuple[MySQLdb.Connection, Abandoned]:
    connection = MySQLdb.connect(
        host=account.host, port=account.port, user=account.user, password=account.password
    )
    with socket.socket(fileno=connection.fileno()) as peer:
        port = peer.getsockname()[1]
        peer.detach()
    return connection, Abandoned(connection.thread_id(), port)


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_the_next_session_ends_those_that_are_the_pools_own(
    scratch: Scratch, add_database: AddDatabase, whose: str
) -> None:
    alias = add_database(**scratch.account.settings())
    connection, session = _session(scratch.account)
    if whose == "another's":  # which has its number since the server was restarted
        session = session._replace(port=session.port + 1)
    abandoned = connections[alias].pool.dialect._abandoned  # type: ignore[attr-defined]
    abandoned.add(session)
    assert fetch(alias, "SELECT 1") == 1

    def is_there() -> bool:
        return session.number in {one.id for one in scratch.sessions()}

    if whose == "its own":
        wait_until(lambda: not is_there(), DEADLINE, "the session goes on")
    else:
        assert is_there()
    with pytest.raises(IndexError):
        abandoned._sessions.popleft()
    close_pool()
    connection.close()

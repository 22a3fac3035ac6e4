"""The hard cap against everything at once, on an account that the server limits to exactly it.

STRESS_SECONDS=60 makes it longer; --log-cli-level=INFO shows what happened.
"""

import logging
import os
import threading
import time

import pytest
from django.db import connections

from pooldaemon.stats import BOUNDS
from tests.stress.conftest import MakeScratch
from tests.stress.load import UNITS, Load
from tests.stress.trouble import FORKING, LOCKED, Trouble
from tests.unit.databases import AddDatabase

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.mysql, pytest.mark.timeout(0), pytest.mark.filterwarnings(FORKING)]

SECONDS = float(os.environ.get("STRESS_SECONDS", "3"))
CAP = 6
THREADS = 32

REFUSED = {1040, 1203, 1226}


def test_nobody_is_refused_or_sees_anothers_error(
    add_database: AddDatabase, make_scratch: MakeScratch
) -> None:
    scratch = make_scratch(limits=f"WITH MAX_USER_CONNECTIONS {CAP}")
    alias = add_database(
        **scratch.account.settings(OPTIONS={"pool": {"pool_size": CAP, "timeout": 30}})
    )
    trouble = Trouble(scratch, alias, CAP)
    before = threading.active_count()
    with Load(alias, UNITS, THREADS) as load:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or not (trouble.kills and trouble.children):
            trouble.make()
        connections[alias].pool.resize(CAP)  # type: ignore[attr-defined]
    unexplained = [str(one) for one in load.failures if not trouble.explains(one)]
    assert unexplained == []
    assert [one for one in load.failures if one.code in REFUSED] == []
    assert len(trouble.most) <= CAP, trouble.most
    assert connections[alias].pool.stats().peak <= CAP  # type: ignore[attr-defined]
    stats = connections[alias].pool.stats()  # type: ignore[attr-defined]
    assert (stats.in_use, stats.waiting, stats.timeouts) == (0, 0, 0)
    # At worst all others are served before, by two connections, each in some tenths of a second.
    longest = BOUNDS.index(5.0)
    assert sum(stats.wait.counts[longest + 1 :]) == 0, stats.wait
    assert load.longest_wait < 10, "connecting included"
    # It was no idyll.
    assert load.done > 20 * SECONDS
    assert threading.active_count() <= before + 1
    locked_out = sum(one.code in LOCKED for one in load.failures)
    logger.info(
        "%d units, %d hit by a KILL, %d while locked out, %d kills, %d outages, %d forks,"
        " %d connects, at most %d sessions, longest wait %.2f s, longest hold %.2f s",
        load.done,
        len(load.failures) - locked_out,
        locked_out,
        len(trouble.kills),
        len(trouble.outages),
        trouble.children,
        stats.connects,
        len(trouble.most),
        load.longest_wait,
        load.longest_hold,
    )


def test_a_session_abandoned_in_the_middle_of_a_statement_counts_until_it_ends(
    add_database: AddDatabase, make_scratch: MakeScratch
) -> None:
    scratch = make_scratch()
    pool = {"pool_size": 1, "timeout": 10}
    alias = add_database(**scratch.account.settings(OPTIONS={"read_timeout": 1, "pool": pool}))
    connection = connections[alias]
    with pytest.raises(Exception, match="Lost connection"), connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(3)")
    connection.close()
    stats = connection.pool.stats()  # type: ignore[attr-defined]
    assert (stats.total, stats.idle) == (1, 0)
    with connection.cursor() as cursor:
        assert len(scratch.sessions()) == 1
        cursor.execute("SELECT 1")
    connection.close()

"""Starts the trial on one of the backends that can be compared."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import MySQLdb

from tests.forks.trial import TABLE
from tests.mysql.scratch import Scratch

OURS = "pooldaemon.backends.mysql"
DJANGO = "django.db.backends.mysql"
OTHER_POOL = "dj_db_conn_pool.backends.mysql"

SIZES = {"default": 4, "fresh": 1}
"""Connections of our pool, fewer than there are threads."""
ROOMY = {"default": 16, "fresh": 4}
"""Of SQLAlchemy's: a thread that waits for one of them may starve, which is no matter of forks."""
PATIENCE = 20
"""Seconds for a connection, an answer, a child."""
LITTLE_PATIENCE = 5
"""With other backends, where somebody else may have taken the answer away."""
SECONDS_PER_FORK = 0.5
"""It takes a tenth on an idle machine."""

SILENT = "the process itself"


@dataclass
class Report:
    """
    :ivar hung: children and threads.
    :ivar errors: that the parent's threads got.
    :ivar failed: children that ended in another way than they were to.
    :ivar committed: rows.
    :ivar lost: rows that the server had confirmed and does not have.
    :ivar stray: rows of units that were not committed.
    :ivar killed: sessions of the parent's that ended without its doing.
    """

    forks: int = 0
    seconds: float = 0.0
    hung: int = 0
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    committed: int = 0
    lost: int = 0
    stray: int = 0
    killed: int = 0


def run_trial(
    scratch: Scratch,
    engine: str,
    forks: int,
    *,
    tls: bool = False,
    poolclass: str = "",
    mode: str = "session",
) -> Report:
    """Fork so many times on the database of *scratch*, which is new.

    :param tls: the server is to let nobody in without.
    :param poolclass: one of SQLAlchemy's instead of our own.
    :param mode: our pools'.
    """
    scratch.admin.query(TABLE.replace("fork_rows", f"{scratch.account.name}.fork_rows"))
    if tls:
        scratch.admin.query(f"ALTER USER '{scratch.account.user}'@'%' REQUIRE SSL")
    patience = PATIENCE if engine == OURS else LITTLE_PATIENCE
    pool: dict[str, Any] = {"timeout": PATIENCE, "mode": mode}
    if poolclass:
        pool |= {"poolclass": poolclass, "max_overflow": 0}
    options = {
        "read_timeout": patience,
        "connect_timeout": patience,
        "ssl_mode": "REQUIRED" if tls else "DISABLED",
    }
    sizes = SIZES if engine == OURS and not poolclass else ROOMY
    databases = {
        name: scratch.account.settings(**_settings(engine, size, pool, options))
        for name, size in sizes.items()
    }
    arguments = json.dumps({"databases": databases, "forks": forks, "patience": patience})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.forks.trial", arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        limit = threading.Timer(PATIENCE * 6 + forks * SECONDS_PER_FORK, _kill, [process])
        limit.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            return _compare(json.loads(line), scratch) if line else Report(failed=[SILENT])
        finally:
            limit.cancel()
            _kill(process)  # also what it has left
            for session in scratch.sessions():
                with suppress(MySQLdb.Error):  # it has just ended
                    scratch.admin.kill(session.id)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _compare(result: dict[str, Any], scratch: Scratch) -> Report:
    """What the process says with what the server says.

    Every committed unit has two rows, every other none; of what failed, nobody can know.
    """
    report = Report(
        result["forks"], result["seconds"], result["hung"], result["errors"], result["failed"]
    )
    alive = {session.id for session in scratch.sessions()}
    report.killed = result["ended"] + len(set(result["sessions"]) - alive)
    rows = {
        (row["thread"], row["unit"]): row["number"]
        for row in scratch.admin.query(
            "SELECT thread, unit, COUNT(*) AS number"
            f" FROM {scratch.account.name}.fork_rows GROUP BY thread, unit"
        )
    }
    for record in result["records"]:
        report.committed += 2 * len(record["committed"])
        for unit in record["committed"]:
            report.lost += max(0, 2 - rows.pop((record["number"], unit), 0))
        for unit in record["doubtful"]:
            rows.pop((record["number"], unit), None)
    report.stray = sum(rows.values())
    return report


def _settings(
    engine: str, size: int, pool: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    settings: dict[str, Any] = {"ENGINE": engine, "OPTIONS": options}
    if engine == OURS:
        settings["OPTIONS"] = options | {"pool": pool | {"pool_size": size}}
    elif engine == OTHER_POOL:
        pool = {"POOL_SIZE": size, "MAX_OVERFLOW": 0, "TIMEOUT": PATIENCE}
        if size == ROOMY["fresh"]:
            pool["RECYCLE"] = 0
        settings["POOL_OPTIONS"] = pool
    return settings

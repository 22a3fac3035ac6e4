"""Which processes used which session: the server's general log knows."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.poll import wait_until
from tests.support.server import Admin

PATIENCE = 240.0  # seconds; all of them together take one minute on an idle machine

_PID = re.compile(r"pid=(\d+)")


class SessionLog:
    """What one account's sessions were sent, by statements that name the sender's pid."""

    def __init__(self, admin: Admin, user: str) -> None:
        self._admin = admin
        self._user = user

    def senders(self) -> dict[int, Counter[int]]:
        """Per session, how many statements each process sent."""
        sessions: dict[int, Counter[int]] = defaultdict(Counter)
        for row in self._admin.query(
            "SELECT thread_id, CONVERT(argument USING utf8mb4) AS argument FROM mysql.general_log"
            " WHERE user_host LIKE %s AND argument LIKE %s",
            [f"{self._user}[%", "%pid=%"],
        ):
            found = _PID.search(row["argument"])
            assert found
            sessions[row["thread_id"]][int(found[1])] += 1
        return sessions

    def connects(self) -> int:
        """How many sessions the account has opened."""
        (row,) = self._admin.query(
            "SELECT COUNT(*) AS number FROM mysql.general_log WHERE command_type = 'Connect'"
            " AND CONVERT(argument USING utf8mb4) LIKE %s",
            [f"{self._user}@%"],
        )
        return int(row["number"])


@contextmanager
def general_log(admin: Admin) -> Iterator[None]:
    """Have the server write down every statement, in its own table, for a while.

    It has one such table, so a test that runs beside another one waits until that has ended.
    """
    lock = "SELECT GET_LOCK('general_log', 0) AS taken"
    wait_until(lambda: admin.query(lock)[0]["taken"], PATIENCE, "another test keeps the log")
    (was,) = admin.query("SELECT @@GLOBAL.general_log AS state, @@GLOBAL.log_output AS output")
    admin.query("SET GLOBAL log_output = 'TABLE'")
    admin.query("SET GLOBAL general_log = 1")
    try:
        yield
    finally:
        admin.query("SET GLOBAL general_log = %s", [was["state"]])
        admin.query("SET GLOBAL log_output = %s", [was["output"]])
        if not was["state"]:
            admin.query("TRUNCATE TABLE mysql.general_log")
        admin.query("DO RELEASE_LOCK('general_log')")

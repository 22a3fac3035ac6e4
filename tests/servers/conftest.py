"""A database for a server's processes, and the log of who sent what."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.mysql.scratch import Scratch, scratch_on
from tests.servers.log import SessionLog, general_log
from tests.support.server import Admin

SECONDS = float(os.environ.get("STRESS_SECONDS", "1"))


@dataclass(frozen=True)
class Ground:
    """
    :ivar environment: for the processes.
    """

    scratch: Scratch
    log: SessionLog
    environment: dict[str, str]

    def rows(self) -> int:
        (row,) = self.scratch.admin.query(
            f"SELECT COUNT(*) AS number FROM {self.scratch.account.name}.units"
        )
        return int(row["number"])

    def assert_no_session_was_shared(self, processes: int) -> None:
        """
        :param processes: how many must have used the database, at least.
        """
        senders = self.log.senders()
        shared = {session: pids for session, pids in senders.items() if len(pids) > 1}
        assert shared == {}
        assert len({pid for pids in senders.values() for pid in pids}) >= processes


@pytest.fixture
def ground(database_admin: Admin) -> Iterator[Ground]:
    with (
        scratch_on(database_admin, os.environ["DATABASE_URL"]) as scratch,
        general_log(database_admin),
    ):
        account = scratch.account
        database_admin.query(
            f"CREATE TABLE {account.name}.units"
            " (id INT AUTO_INCREMENT PRIMARY KEY, sender VARCHAR(20)) ENGINE=InnoDB"
        )
        environment = {
            **os.environ,
            "PYTHONFAULTHANDLER": "1",
            "DJANGO_SETTINGS_MODULE": "tests.servers.project.settings",
            "SERVERS_DATABASE": json.dumps(account.settings()),
        }
        yield Ground(scratch, SessionLog(database_admin, account.user), environment)

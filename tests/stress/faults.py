"""What may befall a server and the way to it, each with a beginning and an end."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from MySQLdb import Error as DriverError

from tests.support.namespace import Namespace
from tests.support.poll import wait_until
from tests.support.relay import Relay
from tests.support.server import Admin, Server

DEADLINE = 10.0
DISK_SIZE = "1g"

TIMED_OUT = 0  # PoolTimeout
LOST = {2002, 2003, 2006, 2013, 2055}
ENDED = LOST | {1053, 1317, 1927, 3168, 3169}
# Behind a network that is parted, or in a server that stood still, a transaction may go on to hold
# its rows for a moment after its client has given up.
AWAY = LOST | {TIMED_OUT, 1205}
READ_ONLY = {1290, 1792, 1836}
DISK_FULL = {3, 1021, 1030, 1114, 1026, 1180, 1878, 3019}

REFUSE_WRITES = (
    "CREATE TRIGGER {0}.refuse BEFORE INSERT ON {0}.ledger FOR EACH ROW"
    " SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = 'read-only, says a test'"
)


@dataclass
class Fault:
    """One that has been made.

    :ivar codes: the errors that it explains.
    """

    name: str
    codes: set[int]
    began: float
    ended: float


class Faults:
    """
    :param user: whose sessions are meant.
    :param databases: where transfers are made.
    :param admin: a connection behind the back of all this.
    :param server: one that may be stopped and killed; ``None``: others use it, too.
    :param disk: the file system of its own that this one's data is on.
    """

    def __init__(
        self,
        user: str,
        databases: list[str],
        admin: Callable[[], Admin],
        relay: Relay,
        namespace: Namespace | None,
        server: Server | None,
        disk: "Disk | None",
    ) -> None:
        self._user = user
        self._databases = databases
        self._admin = admin
        self._relay = relay
        self._namespace = namespace
        self._server = server
        self._disk = disk
        self._chance = random.Random(7)
        self.fills_disk = False
        """Transfers are to write much."""

    def kinds(self) -> list[tuple[Callable[[float], None], set[int]]]:
        """Each is called with the seconds it is to last, and returns when it is over."""
        kinds: list[tuple[Callable[[float], None], set[int]]] = [
            (self.partition, AWAY),
            (self.server_is_cut_off, LOST),
            (self.client_is_cut_off, LOST),
            (self.kill_sessions, ENDED),
            (self.kill_queries, ENDED),
            (self.read_only, READ_ONLY),
        ]
        if self._server is not None:
            kinds += [(self.server_stands_still, AWAY), (self.server_is_killed, AWAY | ENDED)]
        if self._disk is not None:
            kinds.append((self.disk_is_full, DISK_FULL | AWAY | ENDED))
        return kinds

    def partition(self, seconds: float) -> None:
        if self._namespace is None:
            self._relay.stop_reading()
            time.sleep(seconds)
            self._relay.read_on()
            return
        self._namespace.part()
        time.sleep(seconds)
        self._namespace.heal()

    def server_is_cut_off(self, _: float) -> None:
        """In the middle of a packet of the server's: its header has 4 bytes."""
        self._cut(from_server=True)

    def client_is_cut_off(self, _: float) -> None:
        self._cut(from_server=False)

    def _cut(self, *, from_server: bool) -> None:
        self._relay.cut_after(self._chance.randint(1, 300), from_server=from_server)
        wait_until(lambda: not self._relay.is_about_to_cut, DEADLINE, "nothing was sent")

    def kill_sessions(self, _: float) -> None:
        self._kill("CONNECTION")

    def kill_queries(self, _: float) -> None:
        self._kill("QUERY")

    def _kill(self, what: str) -> None:
        for session in self._admin().processlist():
            if session.user == self._user:
                with suppress(DriverError):  # it was gone already
                    self._admin().query(f"KILL {what} {session.id}")

    def read_only(self, seconds: float) -> None:
        if self._server is not None:
            begin, end = ["SET GLOBAL read_only = 1"], ["SET GLOBAL read_only = 0"]
        else:
            begin = [REFUSE_WRITES.format(name) for name in self._databases]
            end = [f"DROP TRIGGER {name}.refuse" for name in self._databases]
        for statement in begin:
            self._admin().query(statement)
        time.sleep(seconds)
        for statement in end:
            self._admin().query(statement)

    def server_stands_still(self, seconds: float) -> None:
        assert self._server is not None
        self._server.pause()
        time.sleep(seconds)
        self._server.resume()

    def server_is_killed(self, seconds: float) -> None:
        assert self._server is not None
        self._server.kill()
        time.sleep(seconds)
        self._server.start()

    def disk_is_full(self, seconds: float) -> None:
        """No page can be had for a table any more."""
        assert self._disk is not None
        assert self._server is not None
        self._disk.fill()
        self.fills_disk = True
        time.sleep(seconds)
        self.fills_disk = False
        self._disk.make_room()
        if self._server.has_ended:  # InnoDB crashes if it can't write a page that it has to
            self._server.kill()
            self._server.start()


class Disk:
    """A file system of its own, in memory. (Mounting takes root.)"""

    def __init__(self, place: Path) -> None:
        self._place = place

    def fill(self) -> None:
        """Leave no room."""

        def is_full() -> bool:
            size = os.statvfs(self._place)
            # What is written meanwhile makes it fail.
            return self._resize(f"{(size.f_blocks - size.f_bfree) * size.f_frsize}")

        wait_until(is_full, DEADLINE, "the disk is not full")

    def make_room(self) -> None:
        assert self._resize(DISK_SIZE)

    def _resize(self, size: str) -> bool:
        change = ["mount", "-o", f"remount,size={size}", str(self._place)]
        return not subprocess.run(change, check=False, capture_output=True, timeout=10).returncode


@contextmanager
def own_disk(place: Path) -> Iterator[Disk | None]:
    """One on *place*, if this process may mount it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True, timeout=10).returncode:
        yield None
        return
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=10)

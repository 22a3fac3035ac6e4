"""The daemon at its work, in processes of its own, on the database of the tests."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from django.utils import timezone

from pooldaemon_example.webhooks.loading import Loaded, load
from pooldaemon_example.webhooks.management.commands.demo import SAMPLE
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.receiver import Receiver
from tests.example.conftest import SECRET, MakeDelivery, StartReceiver
from tests.support.poll import wait_until
from tests.support.server import Admin

MANAGE = Path(__file__).parents[2] / "manage.py"
LINES = len(SAMPLE.read_bytes().splitlines())
PATIENCE = 90.0  # seconds for what takes a few on an idle machine
Status = Delivery.Status
# The tables are the test database's, but the rows must be committed for other processes to see.
pytestmark = [pytest.mark.lifecycle, pytest.mark.django_db(transaction=True)]


def database_url() -> str:
    """The database of the tests as a URL: the one of DATABASE_URL, under its test name."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def children(pid: int) -> set[int]:
    """The living children of a process; those of one that is gone are none."""
    found = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(child) for child in file.read_text().split()}
    return {child for child in found if alive(child)}


def alive(pid: int) -> bool:
    """Is it there, and more than an entry its parent has yet to read?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def descendants(pid: int) -> set[int]:
    below = children(pid)
    return below.union(*(descendants(child) for child in below))


class Command:
    """`manage.py ARGUMENTS`, running. It writes to files: a pipe nobody reads would stop it."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str], home: Path) -> None:
        self.files = [home / "stdout", home / "stderr"]
        with self.files[0].open("wb") as out, self.files[1].open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, MANAGE, *arguments],
                env=environment,
                cwd=MANAGE.parent,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self.process.pid

    def workers(self) -> set[int]:
        """Those of a daemon, as its log names them: its children may be others for a moment."""
        log = self.files[1].read_text()
        return {int(pid) for pid in re.findall(r": started as pid (\d+)", log) if alive(int(pid))}

    def ended(self, timeout: float = PATIENCE) -> tuple[int, str, str]:
        """Its exit status and what it wrote, once it has ended by itself."""
        status = self.process.wait(timeout)
        out, err = (file.read_text() for file in self.files)
        return status, out, err

    def succeeded(self, timeout: float = PATIENCE) -> str:
        status, out, err = self.ended(timeout)
        assert status == 0, f"status {status}\n{out}\n{err}"
        return out

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        # pytest shows this if the test failed.
        sys.stderr.write(self.ended()[2])


Start = Callable[..., Command]


@pytest.fixture
def manage(tmp_path: Path) -> Iterator[Start]:
    """Start `manage.py ARGUMENTS` with these WEBHOOK_ settings; nothing of it outlives the test."""
    running: list[Command] = []

    def start(*arguments: str, **webhook: object) -> Command:
        environment = {
            **os.environ,
            # As a user starts it, and not with the tests' own.
            "DJANGO_SETTINGS_MODULE": "pooldaemon_example.settings",
            "DATABASE_URL": database_url(),
            "WEBHOOK_SIGNING_SECRET": SECRET,
            **{f"WEBHOOK_{name.upper()}": str(value) for name, value in webhook.items()},
        }
        home = tmp_path / str(len(running))
        home.mkdir()
        running.append(Command(arguments, environment, home))
        return running[-1]

    yield start
    for command in running:
        command.end()


def load_sample(url: str) -> None:
    with SAMPLE.open("rb") as stream:
        load(stream, url, lambda line, reason: pytest.fail(f"{line}: {reason}"), Loaded())
    assert Delivery.objects.count() == LINES


def accepted_once(receiver: Receiver) -> set[int]:
    assert set(receiver.ledger.accepted.values()) <= {1}
    return {int(key) for key in receiver.ledger.accepted}


def ids(**conditions: object) -> set[int]:
    return set(Delivery.objects.filter(**conditions).values_list("id", flat=True))


QUICK = {"retry_base": 0.02, "retry_cap": 0.2, "max_attempts": 3}


@pytest.mark.parametrize("command", ["rundaemon", "deliver_webhooks"])
def test_the_daemon_delivers_the_sample_once_and_says_what_its_workers_used(
    manage: Start, start_receiver: StartReceiver, command: str
) -> None:
    receiver = start_receiver(fail_rate=0.05, seed="sample")
    load_sample(receiver.url)
    options = ("--until-idle", "--processes=2", "--threads=4", "--max-connections=2")
    out = manage(command, *options, **QUICK).succeeded()
    assert ids(status=Status.PENDING) == set()
    assert accepted_once(receiver) == ids(status=Status.DELIVERED)
    assert len(ids(status=Status.DELIVERED)) + len(ids(status=Status.DEAD)) == LINES
    assert not Delivery.objects.filter(status=Status.DEAD, error="").exists()
    most = [int(number) for number in re.findall(r"peak of (\d+) connections?", out)]
    assert len(most) == 2
    assert all(1 <= number <= 2 for number in most)


def test_workers_killed_in_mid_delivery_three_times_lose_no_delivery(
    manage: Start, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(latency=0.2)
    load_sample(receiver.url)
    daemon = manage(
        *("rundaemon", "--until-idle", "--processes=2", "--threads=8"),
        connect_timeout=0.5,
        read_timeout=2,
        lease=3,
        retry_base=0.02,
        retry_cap=0.2,
        max_attempts=6,
    )
    killed: set[int] = set()
    for number in range(1, 4):
        workers = wait_until(
            lambda: len(found := daemon.workers() - killed) == 2 and found,
            timeout=PATIENCE,
            message=f"two workers before kill {number}",
        )
        wait_until(
            lambda before=receiver.ledger.stats.requests: (
                receiver.ledger.stats.requests > before + 20
            ),
            timeout=PATIENCE,
            message="workers at work",
        )
        # More leases than one worker has threads: both are in mid-delivery.
        wait_until(
            lambda: Delivery.objects.filter(claim_token__isnull=False).count() > 8,
            timeout=PATIENCE,
            message="deliveries in progress",
        )
        victim = max(workers)
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    daemon.succeeded()
    assert len(killed) == 3
    assert ids(status=Status.PENDING) == set()
    assert len(ids(status=Status.DELIVERED)) + len(ids(status=Status.DEAD)) == LINES
    assert ids(status=Status.DELIVERED) == {int(key) for key in receiver.ledger.accepted}
    # What was killed with its worker was made again.
    assert Delivery.objects.filter(status=Status.DELIVERED, attempts__gt=1).exists()


def test_term_under_load_drains_and_leaves_no_process_and_no_claim(
    manage: Start, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(latency=0.2)
    load_sample(receiver.url)
    daemon = manage("rundaemon", "--processes=2", "--threads=8", "--graceful-timeout=20")
    wait_until(lambda: receiver.ledger.stats.accepted > 30, PATIENCE, "the daemon under load")
    processes = descendants(daemon.pid)
    assert len(processes) >= 2
    os.kill(daemon.pid, signal.SIGTERM)
    daemon.succeeded()
    assert not {pid for pid in processes if alive(pid)}
    unfinished = Delivery.objects.filter(status=Status.PENDING)
    assert unfinished.filter(attempts=0, due_at__lte=timezone.now()).exists()
    assert not unfinished.filter(claim_token__isnull=False).exists()
    assert accepted_once(receiver) == ids(status=Status.DELIVERED)


def test_the_demo_accounts_for_every_line_twice_running(manage: Start) -> None:
    for _ in range(2):
        out = manage("demo").succeeded()
        assert re.search(rf"^lines in sample +{LINES}$", out, re.MULTILINE)
        delivered = int(re.search(r"^delivered +(\d+)", out, re.MULTILINE)[1])
        dead = int(re.search(r"^dead +(\d+)", out, re.MULTILINE)[1])
        assert delivered + dead == LINES
        assert re.search(
            rf"^receiver counted +{delivered} accepted, 0 repeated$", out, re.MULTILINE
        )
        most = [int(number) for number in re.findall(r"peak of (\d+) connections?", out)]
        assert len(most) == 2
        assert max(most) <= (2 if connection.vendor == "mysql" else 8)
        assert Delivery.objects.count() == LINES


@pytest.mark.mysql
def test_the_server_never_counts_more_sessions_than_the_demo_promises(
    manage: Start, database_admin: Admin
) -> None:
    database = connection.settings_dict["NAME"]
    before = {session.id for session in database_admin.processlist()}
    demo = manage("demo", "--processes=2", "--threads=8", "--max-connections=2")
    most = 0
    while demo.process.poll() is None:
        sessions = [
            session
            for session in database_admin.processlist()
            if session.database == database and session.id not in before
        ]
        most = max(most, len(sessions))
        # A bound on how much of the server the looking takes; nothing is waited for.
        with suppress(subprocess.TimeoutExpired):
            demo.process.wait(0.01)
    demo.succeeded(timeout=0)
    # The daemon's 2 x 2, and the one the demo itself looks through.
    assert 3 <= most <= 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_stopped_leaves_nothing_running(
    manage: Start, signum: signal.Signals
) -> None:
    demo = manage("demo", "--latency=0.5")
    wait_until(
        lambda: len(descendants(demo.pid)) >= 4, PATIENCE, "receiver, supervisor and workers"
    )
    processes = descendants(demo.pid)
    os.kill(demo.pid, signum)
    status, _, err = demo.ended()
    assert status == 128 + signum
    assert err.strip().splitlines()[-1] == f"stopped by {signum.name}"
    assert not {pid for pid in processes if alive(pid)}


def test_a_demo_whose_daemon_dies_passes_its_status_on(manage: Start) -> None:
    demo = manage("demo", "--latency=0.5")
    wait_until(
        lambda: len(descendants(demo.pid)) >= 4, PATIENCE, "receiver, supervisor and workers"
    )
    (supervisor,) = wait_until(
        lambda: [pid for pid in children(demo.pid) if len(children(pid)) == 2],
        PATIENCE,
        "its workers",
    )
    processes = descendants(demo.pid)
    os.kill(supervisor, signal.SIGKILL)
    status, _, err = demo.ended()
    assert status == 128 + signal.SIGKILL
    assert "the daemon failed with status -9" in err
    wait_until(lambda: not {pid for pid in processes if alive(pid)}, PATIENCE, "everything to end")


def test_a_demo_does_not_deliver_what_is_not_its_own(
    manage: Start, make_delivery: MakeDelivery
) -> None:
    foreign = make_delivery(url="http://receiver.invalid/x")
    status, _, err = manage("demo").ended()
    assert status == 1
    assert "has pending deliveries of others (1)" in err
    foreign.refresh_from_db()
    assert (foreign.status, foreign.attempts) == (Status.PENDING, 0)

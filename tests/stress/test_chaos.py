"""Kills, hangs, hogs, restarts and a machine that says no, while the example's daemon delivers.

CHAOS_SECONDS=600 makes it long, CHAOS_SEED repeats the choices of a run, CHAOS_KINDS="deploy hang"
leaves out all other kinds of trouble. Without CHAOS_RESTART it
restarts a MariaDB of its own; with it, that is a command that restarts the server of DATABASE_URL,
and returns when it takes logins.
"""

import logging
import os
import random
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Protocol

import pytest

from pooldaemon.testing import processes
from tests.lifecycle.daemon import TIMEOUT
from tests.lifecycle.test_worker_deaths import ORPHANS_GONE
from tests.stress.deliveries import (
    Attempt,
    AttemptReceiver,
    Deliveries,
    DeliveryDaemon,
    noted_attempts,
)
from tests.stress.machine import Machine
from tests.support.poll import wait_until
from tests.support.server import Admin, Server
from tests.unit.databases import AddDatabase

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.once, pytest.mark.mysql, pytest.mark.lifecycle, pytest.mark.timeout(0)]

SECONDS = float(os.environ.get("CHAOS_SECONDS", "5"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**9)))
KINDS = os.environ.get("CHAOS_KINDS", "").split()
RESTART = os.environ.get("CHAOS_RESTART", "")

BACKLOG = 200
LONGEST_PAUSE = 0.8  # seconds between troubles
RECOVERY = 180.0  # seconds until all is delivered: leases, and delays before workers start, run out
TARGET = "tests.stress.deliver_in_trouble.deliver"
OPTIONS = (
    *("--processes=3", "--threads=4", "--max-connections=2", "--idle-interval=0.2"),
    *("--unit-timeout=1.5", "--graceful-timeout=2", "--max-rss=300", "--crash-limit=1000"),
    "--heartbeat-timeout=3",
)
SUSPENSION = 3.5  # seconds: longer than a heartbeat may be missing, and than a unit may take
HOLD = 1.5  # seconds for which a machine says no


class RestartedServer(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def admin(self) -> Admin: ...
    def restart(self) -> None: ...


class ServerOfCommand:
    """The server of DATABASE_URL, and the command that restarts it."""

    def __init__(self, url: str, command: str) -> None:
        self.url = url
        self._command = shlex.split(command)
        self.admin = Admin(url)

    def restart(self) -> None:
        self.admin.close()
        subprocess.run(self._command, check=True, stdout=subprocess.DEVNULL)
        self.admin = Admin(self.url)


@pytest.fixture
def server(start_server: Callable[..., Server]) -> RestartedServer:
    return ServerOfCommand(os.environ["DATABASE_URL"], RESTART) if RESTART else start_server()


class ChaosDaemon(DeliveryDaemon):
    """Runs in the release that is current when it is started."""

    def __init__(
        self, directory: Path, deliveries: Deliveries, arguments: list[str], machine: Machine
    ) -> None:
        super().__init__(directory, deliveries.database, arguments)
        self._cwd = machine.current
        self._machine = machine

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **self._machine.environment}


class Chaos:
    """Makes trouble for a daemon, or for the one that follows when it was killed.

    :ivar killed: when, by pid, workers were killed or lost their supervisor.
    :ivar outages: of the database, from when to when.
    :ivar suspensions: of the daemon, from when to when.
    """

    def __init__(
        self,
        machine: Machine,
        server: RestartedServer,
        deliveries: Deliveries,
        home: Path,
        url: str,
    ) -> None:
        self.chance = random.Random(SEED)
        self.daemons: list[DeliveryDaemon] = []
        self.made: Counter[str] = Counter()
        self.killed: dict[int, float] = {}
        self.outages: list[tuple[float, float]] = []
        self.suspensions: list[tuple[float, float]] = []
        self._machine = machine
        self._home = home
        self._server = server
        self._deliveries = deliveries
        self._url = url
        self._running = ExitStack()

    def __enter__(self) -> "Chaos":
        self._deliveries.fill(BACKLOG, self._url)
        self._start()
        self.daemon.wait_for("posting")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._running.__exit__(*exc_info)

    @property
    def daemon(self) -> DeliveryDaemon:
        return self.daemons[-1]

    def hung(self) -> list[int]:
        """The living workers that have a thread which hangs."""
        hung = {event["pid"] for event in self.daemon.journal.events("hang")}
        return sorted(filter(processes.is_alive, hung))

    def make(self, seconds: float) -> None:
        """Every kind of trouble once, then any, for so long."""
        kinds = [
            self.kill_worker,
            self.kill_supervisor,
            self.restart_database,
            self.reload,
            *(self._order(what) for what in ("hang", "statement", "hog", "children")),
            *(self.suspend, self.deploy, *self._refusals()),
        ]
        kinds = [kind for kind in kinds if not KINDS or kind.__name__ in KINDS]
        end = time.monotonic() + seconds
        for trouble in self._choose(kinds, end):
            self._deliveries.fill(BACKLOG, self._url)
            self.made[trouble.__name__] += 1
            trouble()
            self._wait_for_strays()
            time.sleep(self.chance.uniform(0, LONGEST_PAUSE))

    def _choose(self, kinds: list[Callable[[], None]], end: float) -> Iterator[Callable[[], None]]:
        yield from self.chance.sample(kinds, len(kinds))
        while time.monotonic() < end:
            yield self.chance.choice(kinds)

    def kill_worker(self) -> None:
        if workers := self.daemon.living_workers():
            victim = self.chance.choice(workers)
            os.kill(victim, signal.SIGKILL)
            self.killed[victim] = time.monotonic()

    def kill_supervisor(self) -> None:
        killed = self.daemon
        killed.process.kill()
        now = time.monotonic()
        workers = killed.living_workers()
        for worker in workers:
            self.killed.setdefault(worker, now)
        killed.process.wait()
        self._start()
        wait_until(
            lambda: not any(map(processes.is_alive, workers)),
            now + ORPHANS_GONE - time.monotonic(),
            "workers outlive their supervisor",
        )
        # Until then, another trouble would count as a failed start.
        self.daemon.wait_for("posting")

    def restart_database(self) -> None:
        began = time.monotonic()
        self._server.restart()
        self.outages.append((began, time.monotonic()))

    def reload(self) -> None:
        self.daemon.signal(signal.SIGHUP)

    def suspend(self) -> None:
        """As a host or a container is: all processes, the supervisor first."""
        pids = lambda: [self.daemon.pid, *(p.pid for p in self.daemon.members())]  # noqa: E731
        began = time.monotonic()
        with self._machine.suspended(pids):
            time.sleep(SUSPENSION)
        self.suspensions.append((began, time.monotonic()))

    def deploy(self) -> None:
        """A new release, of which the workers say that they run it."""
        self._machine.switch_release()
        wait_until(self._can_reload, RECOVERY, "the last reload does not end")
        self.reload()
        wait_until(self._runs_new_release, RECOVERY, "the new release does not run")

    def _runs_new_release(self) -> bool:
        if self.daemon.journal.events("posting", release=self._machine.release):
            return True
        self._deliveries.fill(BACKLOG, self._url)
        return False

    def _can_reload(self) -> bool:
        with suppress(OSError):
            return self.daemon.status()["reload"]["state"] not in {"trying", "rolling"}
        return False

    def _refusals(self) -> Iterator[Callable[[], None]]:
        """The machine says no for a while, and meanwhile a worker dies or a reload begins."""
        machine = self._machine
        kinds: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "full_disk": machine.full_disk,
            "log_directory_gone": machine.log_directory_gone,
            "log_rotated_by_another": machine.log_rotated_by_another,
            "no_descriptor_left": lambda: machine.no_descriptor_left(self.daemon.pid),
            "no_process_left": lambda: machine.no_process_left(
                p.pid for p in self.daemon.members()
            ),
        }
        for name, kind in kinds.items():
            yield self._refusal(name, kind)

    def _refusal(
        self, name: str, kind: Callable[[], AbstractContextManager[None]]
    ) -> Callable[[], None]:
        def trouble() -> None:
            with kind():
                self.chance.choice([self.kill_worker, self.reload])()
                time.sleep(HOLD)
            assert self.daemon.process.poll() is None, f"{name} has ended the daemon"

        trouble.__name__ = name
        return trouble

    def _order(self, what: str) -> Callable[[], None]:
        def trouble() -> None:
            self.daemon.journal.order(what)

        trouble.__name__ = what
        return trouble

    def _start(self) -> None:
        pidfile = self._machine.disk / "daemon.pid"
        arguments = ["rundaemon", TARGET, *OPTIONS, f"--pidfile={pidfile}"]
        directory = self._home / f"daemon-{len(self.daemons)}"
        daemon = ChaosDaemon(directory, self._deliveries, arguments, self._machine)
        self.daemons.append(self._running.enter_context(daemon))

    def _wait_for_strays(self) -> None:
        try:
            wait_until(lambda: not self._strays(), TIMEOUT, "orphans or zombies")
        except AssertionError as error:
            for stray in self._strays():
                error.add_note(f"{stray}, {describe(stray.pid)}")
            raise

    def _strays(self) -> list[processes.Process]:
        """Processes of the present daemon that are nobody's, or dead and not reaped."""
        members = self.daemon.members()
        parents = {os.getpid(), *(process.pid for process in members)}
        return [p for p in members if p.state == "Z" or p.parent not in parents]


def describe(pid: int) -> str:
    """What a process that should not be there waits for."""
    facts = []
    for name in ("wchan", "syscall", "cmdline"):
        with suppress(OSError):
            facts.append(Path(f"/proc/{pid}/{name}").read_text().replace("\0", " "))
    with suppress(OSError):
        facts += [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return ", ".join(facts)


def explain(attempt: Attempt, chaos: Chaos, broken: set[int]) -> str | None:
    """Why an attempt that had its answer was not recorded.

    :param broken: workers that a signal has ended.
    """
    if attempt.recorded:
        return None
    if attempt.failed is None:
        return "its worker was killed" if attempt.cut_off and attempt.pid in broken else None
    if any(began <= attempt.failed and attempt.began <= end for began, end in chaos.outages):
        return "the database was away"
    if chaos.killed.get(attempt.pid, attempt.failed) < attempt.failed:
        return "its session was ended with those that a killed supervisor had left"
    if any(began <= attempt.failed and attempt.began <= end for began, end in chaos.suspensions):
        return "its lease ended while the daemon was suspended"
    return None


def test_whatever_is_killed_no_delivery_is_lost_and_every_repetition_is_explained(
    server: RestartedServer, add_database: AddDatabase, tmp_path: Path
) -> None:
    logger.warning("CHAOS_SEED=%d", SEED)
    receiver = AttemptReceiver(latency=0.05)
    with (
        Deliveries(server.url, lambda: server.admin, add_database) as deliveries,
        receiver.serving(),
        Machine(tmp_path) as machine,
        Chaos(machine, server, deliveries, tmp_path, receiver.url) as chaos,
    ):
        chaos.make(SECONDS)
        wait_until(lambda: deliveries.pending() == 0, RECOVERY, "deliveries are left")
        wait_until(lambda: not chaos.hung(), RECOVERY, "workers that hang")
        chaos.daemon.stop()
        for daemon in chaos.daemons:
            daemon.assert_nothing_left()
        assert not list(machine.disk.glob("daemon.pid*"))
        assert deliveries.all() == deliveries.delivered() == receiver.attempts.keys()
    noted: dict[tuple[int, int], Attempt] = {}
    broken = {*chaos.killed}
    for daemon in chaos.daemons:
        noted |= noted_attempts(daemon)
        broken |= daemon.broken_workers()
    explained: Counter[str] = Counter()
    for delivery, numbers in receiver.attempts.items():
        assert len(set(numbers)) == len(numbers), "an attempt was made twice"
        for number in sorted(numbers)[:-1]:
            reason = explain(noted[delivery, number], chaos, broken)
            assert reason, f"delivery {delivery}: {noted[delivery, number]} was repeated"
            explained[reason] += 1
    logger.info("%d deliveries, %s; repeated: %s", len(receiver.attempts), chaos.made, explained)

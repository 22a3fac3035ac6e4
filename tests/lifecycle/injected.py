"""A daemon of two workers whose calls to the system can be made to fail."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pooldaemon.testing import processes, wait_until
from tests.lifecycle.daemon import TIMEOUT, Daemon
from tests.lifecycle.databases import SQLiteDatabase
from tests.support.injection import IN_SETUP, VARIABLE, Failure, Injection

ORPHANS_GONE = 2.0
"""Seconds that a worker may outlive its supervisor."""

OPTIONS = (
    *("--threads", "1", "--idle-interval", "0.05", "--processes", "2", "--pidfile", "pid"),
    *("--logfile", "log", "--health-file", "health", "--in-setup", "begin_injection"),
)


class Units:
    """How many have begun and ended, by worker. Reads on where it has stopped."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "events"
        self._read = 0
        self.begun: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def look(self) -> int:
        """Take in what has been noted since; returns how many have ended."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            whole, _, _ = file.read().rpartition(b"\n")
            self._read += len(whole) + bool(whole)
            for event in map(json.loads, whole.splitlines()):
                self.begun[event["pid"]] += event["kind"] == "began"
                self.ended[event["pid"]] += event["kind"] == "ended"
        return self.ended.total()

    def lost(self, killed: set[int]) -> list[int]:
        """The workers that are gone, and have not ended what they had begun.

        :param killed: those that the test has killed.
        """
        # In this order: who has gone meanwhile has noted all before.
        gone = [pid for pid in self.begun if pid not in killed and not processes.is_alive(pid)]
        self.look()
        return [pid for pid in gone if self.begun[pid] != self.ended[pid]]


class Injected:
    def __init__(self, daemon: Daemon, injection: Injection) -> None:
        self.daemon = daemon
        self.injection = injection
        self.units = Units(daemon.directory)
        self.killed: set[int] = set()
        """Workers that the test has killed."""

    @property
    def pid(self) -> int:
        return self.daemon.pid

    @property
    def has_ended(self) -> bool:
        return self.daemon.process.poll() is not None

    def workers(self) -> set[int]:
        """The pids of those that are ready; empty if it does not answer."""
        with suppress(OSError):
            status = self.daemon.status()
            return {w["pid"] for w in status["workers"] if w["state"] == "ready"}
        return set()

    def worker(self, name: str) -> int:
        (pid,) = (w["pid"] for w in self.daemon.status()["workers"] if w["name"] == name)
        return int(pid)

    def wait_for_workers(self, but: set[int] | None = None) -> set[int]:
        """Wait until all are there, without those that have gone."""

        def ready() -> set[int]:
            found = self.workers()
            return found if len(found) == 2 and not found & (but or set()) else set()

        return self.daemon._wait(ready, TIMEOUT, f"not two workers, besides {but}")

    def wait_for_units(self, count: int) -> None:
        """Wait until so many more have ended."""
        wanted = self.units.look() + count
        self.daemon._wait(lambda: self.units.look() >= wanted, TIMEOUT, f"no {count} units more")

    def kill(self, worker: int) -> None:
        os.kill(worker, signal.SIGKILL)
        self.killed.add(worker)

    def assert_no_unit_is_lost(self) -> None:
        """All that have begun have ended, but those in workers that the test has killed."""
        with self.daemon._explained():
            assert not self.units.lost(self.killed), "units are lost"
            assert self.units.look(), "there were no units"

    def assert_orphans_end(self, workers: set[int]) -> None:
        with self.daemon._explained():
            wait_until(
                lambda: not any(map(processes.is_alive, workers)),
                ORPHANS_GONE,
                "workers outlive their supervisor",
            )

    def stop(self) -> None:
        self.daemon.stop()
        self.assert_no_unit_is_lost()

    def give_up(self) -> None:
        """Kill all that is left: it has failed already."""
        for process in self.daemon.members():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


class Injector:
    """Starts such daemons, each in a directory of its own."""

    def __init__(self, directory: Path, database: SQLiteDatabase, library: Path) -> None:
        self._directory = directory
        self._database = database
        self._library = library
        self._count = 0

    @contextmanager
    def started(
        self, group: Sequence[Failure] = (), when: int = IN_SETUP, *, preflight: bool = True
    ) -> Iterator[Injected]:
        """
        :param group: what fails in the start itself, from the moment *when* on.
        :param preflight: whether its reloads try the new code first.
        """
        self._count += 1
        injection = Injection(self._directory / f"injection-{self._count}")
        if group:
            injection.arm(group, 0, when)
        directory = self._directory / f"injected-{self._count}"
        arguments = ("work", "tell_version", *OPTIONS)
        with pytest.MonkeyPatch.context() as patch, injection:
            patch.setenv("LD_PRELOAD", str(self._library))
            patch.setenv(VARIABLE, str(injection.path))
            patch.setenv("INJECTION_PREFLIGHT", "real" if preflight else "none")
            with Daemon(directory, self._database, arguments) as daemon:
                patch.undo()
                yield Injected(daemon, injection)

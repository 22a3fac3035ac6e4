"""What the machine of a daemon may do to it: say no, stand still, fill up, get a new release."""

import logging
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pooldaemon.testing import processes

logger = logging.getLogger(__name__)

DISK_SIZE = "2m"
PIDS = Path("/sys/fs/cgroup/pids")


class Machine:
    """The part of the machine that one daemon, or one after the other, runs on.

    :param home: a directory for a disk of its own and for the releases of the project.
    :ivar disk: where pidfile, temporary files and log are. A file system of its own, if this
        process may mount one.
    :ivar current: the link to the release that is to run.

    A context manager; afterwards nothing is mounted.
    """

    def __init__(self, home: Path) -> None:
        self.disk = home / "disk"
        self.log = self.disk / "log" / "daemon.log"
        self.current = home / "current"
        self._releases = home / "releases"
        self._cgroup = PIDS / f"pooldaemon-{os.getpid()}"
        self._has_own_disk = False
        self.release = 0

    def __enter__(self) -> "Machine":
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(self.disk)]
        self._has_own_disk = not subprocess.run(mount, check=False, capture_output=True).returncode
        self.log.parent.mkdir()
        self.switch_release()
        with suppress(OSError):
            self._cgroup.mkdir()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._has_own_disk:
            subprocess.run(["umount", "--lazy", str(self.disk)], check=True)
        if self._cgroup.exists():
            self._cgroup.rmdir()

    @property
    def environment(self) -> dict[str, str]:
        """The daemon's part of the environment, as a shell in its directory would have it."""
        return {"TMPDIR": str(self.disk), "CHAOS_LOG": str(self.log), "PWD": str(self.current)}

    def switch_release(self) -> None:
        """Point `current` at a new release, and delete the one before the last."""
        self.release += 1
        release = self._releases / str(self.release)
        release.mkdir(parents=True)
        (release / "release.py").write_text(f"NUMBER = {self.release}\n")
        link = self.current.with_name("next")
        link.symlink_to(release)
        link.replace(self.current)
        shutil.rmtree(self._releases / str(self.release - 2), ignore_errors=True)

    @contextmanager
    def suspended(self, pids: Callable[[], Iterable[int]]) -> Iterator[None]:
        """All these processes stand still. One that is born meanwhile by another is stopped too."""
        stopped: set[int] = set()
        while new := {*pids()} - stopped:
            for pid in new:
                _signal(pid, signal.SIGSTOP)
            stopped |= new
        try:
            yield
        finally:
            for pid in stopped:
                _signal(pid, signal.SIGCONT)

    @contextmanager
    def no_descriptor_left(self, pid: int) -> Iterator[None]:
        """The process gets no further file descriptor."""
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(used, before[0]), before[1]))
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    @contextmanager
    def no_process_left(self, pids: Iterable[int]) -> Iterator[None]:
        """The processes can neither fork nor start a thread, where control groups are ours."""
        if not self._cgroup.exists():
            logger.warning("The limit of processes is left out: %s is not writable", PIDS)
            yield
            return
        for pid in pids:
            with suppress(OSError):
                (self._cgroup / "cgroup.procs").write_text(str(pid))
        limit = self._cgroup / "pids.max"
        limit.write_text((self._cgroup / "pids.current").read_text())
        try:
            yield
        finally:
            limit.write_text("max")
            for pid in (self._cgroup / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (PIDS / "cgroup.procs").write_text(pid)

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Nothing can be written where the daemon's files are."""
        if not self._has_own_disk:
            logger.warning("The full disk is left out: nothing can be mounted")
            yield
            return
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def log_directory_gone(self) -> Iterator[None]:
        shutil.rmtree(self.log.parent)
        try:
            yield
        finally:
            self.log.parent.mkdir()

    @contextmanager
    def log_rotated_by_another(self) -> Iterator[None]:
        """Where the log was is something that can't be written, not even by root."""
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".1"))
        self.log.mkdir()
        try:
            yield
        finally:
            self.log.rmdir()


def _signal(pid: int, number: signal.Signals) -> None:
    if processes.is_alive(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, number)

"""What the kernel knows of processes. Linux."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A line of the process table; `terminal` is 0 without one, state Z is a zombie."""

    pid: int
    state: str
    parent: int
    session: int
    terminal: int


def find(pid: int) -> Process | None:
    """Read one process; None once it has been reaped."""
    try:
        text = Path(f"{PROC}/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name before the parenthesis may hold anything.
    state, parent, _group, session, terminal = text.rpartition(")")[2].split()[:5]
    return Process(pid, state, int(parent), int(session), int(terminal))


def every() -> list[Process]:
    """All processes, zombies included."""
    return [process for pid in _pids() if (process := find(pid)) is not None]


def children(pid: int) -> list[Process]:
    """The children of a process, zombies included."""
    return [process for process in every() if process.parent == pid]


def is_alive(pid: int) -> bool:
    """Whether there is such a process; a zombie is none any more."""
    process = find(pid)
    return process is not None and process.state != "Z"


def with_variable(name: str, value: str) -> set[int]:
    """The processes that were started with this in their environment, or forked from one."""
    wanted = f"{name}={value}".encode()
    found = set()
    for pid in _pids():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if wanted in Path(f"{PROC}/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]

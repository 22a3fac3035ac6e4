"""The process table of the kernel. Linux only."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process. ``state`` is ``"Z"`` for a zombie; ``terminal`` is 0 if it has none."""

    pid: int
    state: str
    parent: int
    session: int
    terminal: int


def find(pid: int) -> Process | None:
    """The process *pid*; ``None`` if there is none."""
    try:
        text = Path(f"{PROC}/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses before these fields, may contain any character.
    state, parent, _group, session, terminal = text.rpartition(")")[2].split()[:5]
    return Process(pid, state, int(parent), int(session), int(terminal))


def every() -> list[Process]:
    """All processes, including zombies."""
    return [process for pid in _pids() if (process := find(pid)) is not None]


def children(pid: int) -> list[Process]:
    """The children of a process, including zombies."""
    return [process for process in every() if process.parent == pid]


def is_alive(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    process = find(pid)
    return process is not None and process.state != "Z"


def with_variable(name: str, value: str) -> set[int]:
    """The pids of processes that have this variable in the environment they were started with."""
    wanted = f"{name}={value}".encode()
    found = set()
    for pid in _pids():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if wanted in Path(f"{PROC}/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]

"""How this process was started: what a reload executes again.

Names are kept as they were given, not as they were resolved at the time: behind ``current/`` may be
another release by now, and at the interpreter's path another virtual environment.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

OWN = ("POOLDAEMON_TRIAL", "POOLDAEMON_HANDOVER")
"""Variables that this package gives a process that it executes."""

ITS_OWN = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
        *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "CREDENTIALS_DIRECTORY"),
        *("PWD", "POOLDAEMON_FAULTS"),
    }
)
"""Variables that make sense in one process only: systemd's, and where it was started."""


@dataclass(frozen=True)
class Invocation:
    """
    :ivar directory: the working directory, by the name that it was called by.
    :ivar executable: the interpreter, likewise.
    :ivar arguments: what came after it.
    :ivar variables: the environment, before settings or anybody else changed it.
    """

    directory: str
    executable: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> Invocation:
        """
        :raises OSError: the working directory has been removed.
        """
        variables = _variables_at_start()
        directory = _directory(variables)
        executable = _executable(directory, variables)
        # Whoever is executed next would not find out otherwise.
        variables["PWD"] = directory
        return cls(directory, executable, tuple(sys.orig_argv[1:]), variables)

    def with_environment_of(self, pid: int) -> Invocation:
        """The same with the environment with which another process was executed; Linux only.

        What whoever manages this one has given it, and it alone, stays.

        :raises OSError: it can't be read: there is no such process, or it is somebody else's.
        """
        found = _read_environment(pid)
        own = {name: value for name, value in self.variables.items() if name in ITS_OWN}
        others = {name: value for name, value in found.items() if name not in ITS_OWN}
        return replace(self, variables=others | own)

    @property
    def command_line(self) -> list[str]:
        return [self.executable, *self.arguments]

    def absolute(self, path: str | os.PathLike[str]) -> Path:
        """*path*, which may be relative to the working directory."""
        return Path(self.directory, path)


def _variables_at_start() -> dict[str, str]:
    """The environment with which this process was executed, as the kernel has kept it.

    ``os.environ`` may hold what settings have put there, from an ``.env`` for instance. Where there
    is no such file, or a library has written a process title over it, that has to do.
    """
    with suppress(OSError):
        return _read_environment("self")
    return {name: value for name, value in os.environ.items() if name not in OWN}


def _read_environment(process: int | str) -> dict[str, str]:
    text = os.fsdecode(Path(f"/proc/{process}/environ").read_bytes())
    try:
        pairs = [entry.split("=", 1) for entry in text.split("\0") if entry]
        found = {name: value for name, value in pairs if name}
    except ValueError:
        found = {}
    if not found:
        raise OSError(0, "a process title has been written over it")
    return {name: found[name] for name in found if name not in OWN}


def _directory(variables: Mapping[str, str]) -> str:
    """The working directory's name with symbolic links, which the kernel does not know.

    A shell tells it in ``PWD``. Others do not; then it may be seen in another path that was given.
    """
    real = Path.cwd()
    for name in _names(variables):
        if _is(name, real):
            return str(name)
    return str(real)


def _names(variables: Mapping[str, str]) -> Iterator[Path]:
    """What may be a name of the working directory."""
    if pwd := variables.get("PWD"):
        yield Path(pwd)
    real = Path.cwd()
    python_path = variables.get("PYTHONPATH", "").split(os.pathsep)
    for path in map(Path, [*sys.orig_argv[1:], sys.executable, *python_path]):
        if not path.is_absolute():
            continue
        for parent in (path, *path.parents):
            resolved = Path(os.path.realpath(parent))
            if parent != resolved and real.is_relative_to(resolved):
                yield parent / real.relative_to(resolved)


def _is(name: Path, real: Path) -> bool:
    with suppress(OSError):
        return name.is_absolute() and name.samefile(real)
    return False


def _executable(directory: str, variables: Mapping[str, str]) -> str:
    """The interpreter, as it was called. ``sys.executable`` has the working directory resolved."""
    called = sys.orig_argv[0]
    if os.sep not in called:
        called = shutil.which(called, path=variables.get("PATH")) or sys.executable
    path, running = Path(directory, called), Path(sys.executable)
    with suppress(OSError):
        # Not the files: those of all virtual environments may be links to one and the same.
        if path.name == running.name and path.parent.samefile(running.parent):
            return str(path)
    return sys.executable

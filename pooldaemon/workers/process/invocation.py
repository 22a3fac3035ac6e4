"""How this process was started. A reload executes the same command again.

Paths are kept as they were given, not resolved: the link ``current/`` may point to another release
by then, and the interpreter's path may lead to another virtual environment.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

OWN = ("POOLDAEMON_TRIAL", "POOLDAEMON_HANDOVER", "POOLDAEMON_ATTEMPTS")
"""Variables that this package sets for processes that it executes."""

ITS_OWN = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
        *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "CREDENTIALS_DIRECTORY"),
        *("PWD", "POOLDAEMON_FAULTS"),
    }
)
"""Variables that are valid in one process only: systemd's, its working directory, fault points."""


@dataclass(frozen=True)
class Invocation:
    """A command line with its working directory and environment.

    :ivar directory: the working directory, by the name under which it was entered.
    :ivar executable: the interpreter, by the name under which it was called.
    :ivar arguments: the interpreter's arguments.
    :ivar variables: the environment of the start, without later changes to ``os.environ``.
    """

    directory: str
    executable: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> Invocation:
        """How this process was started.

        :raises OSError: the working directory has been removed.
        """
        variables = _variables_at_start()
        # Whoever executed this process for a reload has entered the directory by this name. The
        # link may point elsewhere since then.
        shown = variables.get("PWD") if any(name in variables for name in OWN) else None
        variables = {name: value for name, value in variables.items() if name not in OWN}
        directory = shown or _directory(variables)
        executable = _executable(directory, variables)
        # The process that is executed next can't find the directory's name otherwise.
        variables["PWD"] = directory
        return cls(directory, executable, tuple(sys.orig_argv[1:]), variables)

    def with_environment_of(self, pid: int) -> Invocation:
        """The same invocation with the environment of another process. Linux only.

        Variables that are valid in this process only, such as systemd's, are kept.

        :raises OSError: the environment can't be read, for example because the process has ended
            or belongs to another user.
        """
        found = _read_environment(pid)
        own = {name: value for name, value in self.variables.items() if name in ITS_OWN}
        others = {name: found[name] for name in found if name not in (*ITS_OWN, *OWN)}
        return replace(self, variables=others | own)

    @property
    def command_line(self) -> list[str]:
        return [self.executable, *self.arguments]

    def absolute(self, path: str | os.PathLike[str]) -> Path:
        """*path*, as an absolute path if it is relative to the working directory."""
        return Path(self.directory, path)


def _variables_at_start() -> dict[str, str]:
    """The environment with which this process was executed, from ``/proc``.

    ``os.environ`` may have been changed since, by settings that read an ``.env`` file for example.
    It is used if ``/proc`` does not have the environment, or a process title has overwritten it.
    """
    with suppress(OSError):
        return _read_environment("self")
    return dict(os.environ)


def _read_environment(process: int | str) -> dict[str, str]:
    text = os.fsdecode(Path(f"/proc/{process}/environ").read_bytes())
    try:
        pairs = [entry.split("=", 1) for entry in text.split("\0") if entry]
        found = {name: value for name, value in pairs if name}
    except ValueError:
        found = {}
    if not found:
        raise OSError(0, "a process title has overwritten its environment")
    return found


def _directory(variables: Mapping[str, str]) -> str:
    """The working directory's name with its symbolic links, which the kernel does not keep.

    A shell passes it in ``PWD``. Without a shell it is searched for in the paths of the command
    line and of ``PYTHONPATH``; if it is not there, the resolved name is returned.
    """
    real = Path.cwd()
    for name in _names(variables):
        if _is(name, real):
            return str(name)
    return str(real)


def _names(variables: Mapping[str, str]) -> Iterator[Path]:
    """Possible names of the working directory."""
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
    """The interpreter, by the name under which it was called. ``sys.executable`` is based on the
    resolved working directory."""
    called = sys.orig_argv[0]
    if os.sep not in called:
        called = shutil.which(called, path=variables.get("PATH")) or sys.executable
    path, running = Path(directory, called), Path(sys.executable)
    with suppress(OSError):
        # The directories are compared: the files of all virtual environments may be links to the
        # same interpreter.
        if path.name == running.name and path.parent.samefile(running.parent):
            return str(path)
    return sys.executable

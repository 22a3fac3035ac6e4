"""Lets chosen calls to the system fail, in one process of a daemon, while it runs.

A library is preloaded into the daemon (``refuse.c``, compiled by the test), and reads from a file
what is to fail. It stands between Python and the C library, so what fails is a real call at a real
place, not a function that the test has replaced.
"""

import errno
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("refuse.c")

VARIABLE = "INJECTION"
"""The environment variable that names the file."""

MOST = 8
"""Failures at a time."""

HEAD = struct.Struct("3i")
ONE = struct.Struct("5i")
CALLS = struct.Struct("48i")
CALLS_AT = HEAD.size + MOST * ONE.size

OFF, ARMED, IN_SETUP, EXECUTED, IMPORTED, HANDLED = range(6)
"""When it fails: never, from now on; or from a moment of the process on: when it is in ``setup()``,
has been executed, has imported this package, is in the command's ``handle()``."""

NO_DESCRIPTOR = errno.EMFILE, errno.ENFILE

ERRORS: dict[str, tuple[int, ...]] = {
    "fork": (errno.EAGAIN, errno.ENOMEM),
    "exec": (errno.ENOENT, errno.EACCES, errno.ENOMEM),
    "open": (*NO_DESCRIPTOR, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EINTR),
    "pipe": NO_DESCRIPTOR,
    "accept": (*NO_DESCRIPTOR, errno.ENOMEM, errno.ECONNABORTED, errno.EINTR),
    "socket": (*NO_DESCRIPTOR, errno.ENOMEM),
    "kill": (errno.EPERM, errno.EAGAIN),
    "wait": (errno.EINTR,),
    "read": (errno.EIO, errno.EINTR, errno.ENOMEM),
    "write": (errno.ENOSPC, errno.EPIPE, errno.EAGAIN, errno.EIO, errno.EINTR),
    "send": (errno.EPIPE, errno.ENOMEM, errno.EAGAIN),
    "recv": (errno.ECONNRESET, errno.ENOMEM, errno.EAGAIN),
    "chdir": (errno.ENOENT, errno.EACCES),
    "unlink": (errno.EACCES, errno.EROFS, errno.ENOENT),
    "rename": (errno.ENOSPC, errno.EROFS, errno.EACCES),
    "stat": (errno.ENOENT, errno.EACCES, errno.ENOMEM),
    "dup": (*NO_DESCRIPTOR, errno.EINTR),
    "poll": (errno.ENOMEM, errno.EINTR),
    "epoll": (*NO_DESCRIPTOR, errno.ENOMEM, errno.ENOSPC),
    "memfd": (*NO_DESCRIPTOR, errno.ENOMEM),
    "times": (errno.EROFS, errno.EACCES, errno.ENOSPC),
    "seek": (errno.ENOSPC, errno.EIO),
    "lock": (errno.ENOLCK, errno.EINTR),
    "close": (errno.EIO, errno.EINTR),
    "list": (*NO_DESCRIPTOR, errno.ENOMEM, errno.EACCES, errno.ENOENT),
    "cwd": (errno.ENOENT, errno.EACCES, errno.ENOMEM),
    "readlink": (errno.ENOENT, errno.EACCES, errno.EIO),
    "access": (errno.ENOENT, errno.EACCES, errno.EIO),
    "chmod": (errno.EPERM, errno.EROFS, errno.EIO),
    "mmap": (errno.ENOMEM,),
    "option": (errno.ENOBUFS, errno.ENOMEM),
    "bind": (errno.EADDRINUSE, errno.EACCES, errno.ENOSPC),
    "ioctl": (errno.ENOMEM, errno.EACCES),
}
"""What the calls may answer, by function and in the order that ``refuse.c`` has. Those are left out
that only a mistake of the caller's makes fail, such as ``sigaction``, and what libraries of C do
within themselves: a real call is refused where Python calls the C library."""

FUNCTIONS = [*ERRORS]


NEVER = 1_000_000_000


@dataclass(frozen=True)
class Failure:
    """
    :ivar function: one of :data:`ERRORS`. :ivar error: its number.
    :ivar first: which call fails, counted from 1. :ivar count: how many do, one after the other.
    """

    function: str
    error: int
    first: int
    count: int = 1

    @classmethod
    def none(cls) -> "Failure":
        """Counts the calls, and nothing fails."""
        return cls("fork", errno.EAGAIN, NEVER)

    @property
    def is_none(self) -> bool:
        return self.first == NEVER

    def __str__(self) -> str:
        if self.is_none:
            return "no failure"
        times = "" if self.count == 1 else f"-{self.first + self.count - 1}"
        return f"{self.function} {self.first}{times} {errno.errorcode[self.error]}"


def failures(calls: Mapping[str, int], count: int = 1, spread: int = 0) -> Iterator[Failure]:
    """All functions, with all their errors, at their first five occurrences.

    :param calls: how often each function is called; what is not called can't fail.
    :param spread: at so many later occurrences as well, in equal distances.
    """
    for function, errors in ERRORS.items():
        total = calls[function]
        first = [*range(1, min(5, total) + 1)]
        later = {5 + (total - 5) * number // spread for number in range(1, spread + 1)}
        for error in errors:
            for number in (*first, *sorted(later - {*first} if total > 5 else ())):
                yield Failure(function, error, number, count)


def compile_library(directory: Path) -> Path | None:
    """The library; ``None`` where there is no compiler, or what is not Linux."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/proc/self/maps").exists():
        return None
    library = directory / "refuse.so"
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-fno-builtin",
        "-o",
        str(library),
        str(SOURCE),
        "-ldl",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return library


class Injection:
    """The file, on the side of the test, and of the hook ``setup``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        size = CALLS_AT + CALLS.size
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._map.close()

    def arm(self, failures: Sequence[Failure], pid: int, when: int = ARMED) -> None:
        """Let them fail in the process *pid*; 0: in whichever calls :meth:`begin` first."""
        HEAD.pack_into(self._map, 0, pid, OFF, len(failures))
        for number, each in enumerate(failures):
            function = FUNCTIONS.index(each.function) + 1
            at = HEAD.size + number * ONE.size
            ONE.pack_into(self._map, at, function, each.error, each.first, each.count, 0)
        CALLS.pack_into(self._map, CALLS_AT, *[0] * 48)
        HEAD.pack_into(self._map, 0, pid, when, len(failures))

    def begin(self, moment: int) -> None:
        """In the process itself: it has come to this moment."""
        pid, when, total = HEAD.unpack_from(self._map)
        if when == moment and pid in (0, os.getpid()):
            HEAD.pack_into(self._map, 0, os.getpid(), ARMED, total)

    def disarm(self) -> list[int]:
        """Returns how often each has failed."""
        pid, _, total = HEAD.unpack_from(self._map)
        HEAD.pack_into(self._map, 0, pid, OFF, total)
        return self.hits

    @property
    def calls(self) -> dict[str, int]:
        """How often each function was called since it was armed."""
        counts = CALLS.unpack_from(self._map, CALLS_AT)
        return dict(zip(FUNCTIONS, counts[1:], strict=False))

    @property
    def hits(self) -> list[int]:
        _, _, total = HEAD.unpack_from(self._map)
        places = (HEAD.size + number * ONE.size for number in range(total))
        return [ONE.unpack_from(self._map, place)[-1] for place in places]


def begin(moment: int) -> None:
    """For code of a daemon under test: it has come to this moment, in this process."""
    if (path := os.environ.get(VARIABLE)) is not None:
        Injection(Path(path)).begin(moment)

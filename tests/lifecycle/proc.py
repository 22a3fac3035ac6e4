"""What the kernel knows of a process, beyond what every test of a daemon wants to know."""

from contextlib import suppress

from pooldaemon.testing.processes import PROC


def descriptors(pid: int) -> dict[int, str]:
    """Return what the open descriptors of a process point to."""
    found = {}
    for entry in (PROC / str(pid) / "fd").iterdir():
        with suppress(FileNotFoundError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def umask(pid: int) -> int:
    return int(_status(pid, "Umask"), 8)


def group(pid: int) -> int:
    return int(_status(pid, "Gid"))


def _status(pid: int, name: str) -> str:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))

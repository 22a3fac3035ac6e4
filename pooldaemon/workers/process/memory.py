"""How much memory a process uses, and whether the kernel has killed for it."""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path


def resident() -> int:
    """Bytes of memory that this process has in use (RSS); 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    return 0


def oom_kills() -> int:
    """Processes that the kernel has killed for want of memory since boot; 0 if it does not tell."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0

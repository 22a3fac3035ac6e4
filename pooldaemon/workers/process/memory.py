"""The memory that this process uses, and the kernel's counter of OOM kills."""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path


def resident() -> int:
    """The resident memory of this process (RSS), in bytes; 0 where there is no ``/proc``."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    return 0


def oom_kills() -> int:
    """How many processes the kernel has killed since boot because memory was exhausted; 0 if the
    kernel has no such counter."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0

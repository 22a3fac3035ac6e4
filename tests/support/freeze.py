"""Stop a process in its tracks, as a frozen machine or a stopped container does."""

import os
import signal
from pathlib import Path

from tests.support.poll import wait_until

DEADLINE = 30.0


def freeze(pid: int) -> None:
    """Return when every thread of the process has stopped; the signal alone takes a moment."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    wait_until(
        lambda: all(
            (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            for thread in threads.iterdir()
        ),
        DEADLINE,
        f"process {pid} is not frozen",
    )

"""A signal that reaches a child of somebody else's in its first moment ends it."""

import signal
import subprocess
import sys

import pytest

FORK = """
import os, signal
# Runs before the hook of this package, which is registered later.
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.{name}))
from pooldaemon.workers.process.inheritance import release_in_children
from pooldaemon.workers.process.signals import SignalQueue

queue = SignalQueue([signal.{name}])
release_in_children(queue.leave_to_parent)
if (pid := os.fork()) == 0:
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.kill(os.getpid(), signal.{name})
print([int(number) for number in queue.take()])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_it_is_not_taken_by_the_parents_handler(number: signal.Signals) -> None:
    code = FORK.format(name=number.name)
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    # The parent's own signals arrive as before.
    assert (child.stdout, child.stderr) == (f"-{int(number)}\n[{int(number)}]\n", "")

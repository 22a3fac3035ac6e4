"""What the fixture makes of tests that are not as they should be."""

from pathlib import Path

import pytest

from pooldaemon.testing import DaemonProcess, processes, wait_until
from pooldaemon.testing.daemon import GONE
from tests.plugin.shop import Shop

pytestmark = pytest.mark.lifecycle

CARELESS = """
import os
import signal

import pytest
from shop.models import Reminder


@pytest.mark.django_db(transaction=True)
def test_that_forgets_its_daemon(daemon_process):
    daemon = daemon_process("send_reminders")
    print(f"pids: {daemon.pid} {daemon.workers}")


@pytest.mark.django_db(transaction=True)
def test_that_leaves_a_process_of_its_daemon(daemon_process):
    daemon = daemon_process("send_reminders")
    for worker in daemon.workers:
        os.kill(worker, signal.SIGSTOP)  # it will not notice that its supervisor is gone
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.process.wait()


@pytest.mark.django_db
def test_without_commits(daemon_process):
    daemon_process("send_reminders")


def test_without_a_database(daemon_process):
    daemon_process("send_reminders")


def test_whose_daemon_does_not_start(daemon_process):
    daemon_process("send_reminders", "--processes", "0", databases={})


def test_that_expects_another_status(daemon_process):
    daemon = daemon_process("send_reminders", "--processes", "0", databases={}, wait=False)
    daemon.assert_clean_end(3)


@pytest.mark.django_db(transaction=True)
def test_that_does_all_this_well(daemon_process):
    daemon = daemon_process("send_reminders", "--processes", "3")
    assert len(daemon.workers) == len(daemon.status()["workers"]) == 3
    daemon.wait_for_log("worker-3: started")
    daemon.stop()
"""


def test_a_test_that_does_not_see_its_daemon_through_fails_with_the_daemons_log(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path / "project")
    shop.write("test_careless.py", CARELESS)
    output = shop.test(passed=3, failed=4, errors=2)
    shown = [line for line in output.splitlines() if not line.startswith((">", "    "))]
    for text, times in {
        "the daemon send_reminders --pidfile=": 2,
        "pid: processes were left running": 2,
        "pooldaemon.supervisor: worker-1: started as pid": 2,
        "daemon_process needs @pytest.mark.django_db(transaction=True): without": 2,
        "CommandError: --processes is 0; it must be a whole number from 1 to 1000.": 2,
        "pid: it has ended with status 1, not 3": 1,
    }.items():
        assert sum(text in line for line in shown) == times, f"{text!r}\n{output}"
    assert "RuntimeWarning" not in output
    wait_until(
        lambda: not [p for p in processes.every() if _works_in(p, shop.directory)],
        GONE,
        "a process is left",
    )


def _works_in(process: processes.Process, directory: Path) -> bool:
    try:
        return (processes.PROC / str(process.pid) / "cwd").readlink() == directory
    except OSError:  # it has ended, or is none of ours
        return False


def test_a_test_database_in_memory_is_refused_with_the_remedy(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "project")
    settings = (shop.directory / "settings.py").read_text()
    shop.write("settings.py", settings + "\nDATABASES['default'].pop('TEST')\n")
    shop.write("test_careless.py", CARELESS.partition("@pytest.mark.django_db\n")[0])
    output = shop.test(failed=2)
    assert (
        "is in memory, where another process can't see it: set DATABASES['default']['TEST']"
        in output
    )


@pytest.mark.parametrize(
    ("point", "action", "message"),
    [
        ("before_units", "crash", "'before_units' is not one of .* Did you mean 'before_unit'?"),
        ("charged", "crash", "'charged' is not one of "),
        ("shop.charged", "crush", "'crush' is not one of crash, hang, raise. Did you mean 'crash'"),
        ("shop.*", "crash", r"'shop.\*' is not one of "),
    ],
)
def test_a_fault_that_cannot_come_is_refused(
    tmp_path: Path, point: str, action: str, message: str
) -> None:
    daemon = DaemonProcess(tmp_path / "daemon", ["send_reminders"])
    daemon.prepare()
    with pytest.raises(ValueError, match=message):
        daemon.arm(point, action)


def test_a_log_that_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A device such as /dev/full has no end; a directory could not be read either."""
    daemon = DaemonProcess(tmp_path / "daemon", ["send_reminders", f"--logfile={tmp_path}"])
    daemon.prepare()
    for name in ("out", "err"):
        (daemon.directory / name).write_text(f"{name}\n")
    assert daemon.log == "out\nerr\n"

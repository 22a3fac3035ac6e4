"""What a hook of the command ``work`` can be told to do."""

import gc
import importlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

from django.db import connection, transaction

from pooldaemon.workers.supervisor import reload, worker_set
from tests.lifecycle.project import code, receivers
from tests.lifecycle.project.children import (  # noqa: F401 - asked for by name
    come_back,
    make_manager,
    receive_and_come_back,
    start_in_every_way,
)
from tests.lifecycle.project.journal import journal
from tests.support import injection


def connect() -> None:
    connection.ensure_connection()
    journal().note("connected", sessions=open_sessions())


def connect_in_open_atomic() -> None:
    transaction.atomic().__enter__()
    connect()


def connect_receivers() -> None:
    receivers.connect(receivers.note)


def connect_failing_receivers() -> None:
    receivers.connect(receivers.fail)


def connect_leaving_receivers() -> None:
    receivers.connect(receivers.leave)


def import_module() -> None:
    """One that the test changes."""
    path = Path("changing.py")
    if not path.exists():
        path.write_text("version = 'first'\n")
    importlib.invalidate_caches()
    importlib.import_module("changing")


def report_sessions() -> None:
    journal().note("inherited", sessions=open_sessions())


def report_frozen() -> None:
    journal().note("frozen", objects=gc.get_freeze_count())


def start_thread() -> None:
    threading.Thread(target=threading.Event().wait, name="stray-helper", daemon=True).start()


def refuse_threads() -> None:
    """The system gives two of four threads until the gate opens, and none for the reports."""
    start = threading.Thread.start

    def start_or_refuse(thread: threading.Thread) -> None:
        late = thread.name.endswith(("thread-3", "thread-4")) and not journal().gate_is_open()
        if late or thread.name == "reports":
            raise RuntimeError("can't start new thread")
        start(thread)

    threading.Thread.start = start_or_refuse  # type: ignore[method-assign]


def fail() -> None:
    raise LookupError("the hook's own mistake")


def fail_if_told() -> None:
    if code.version == "failing":
        fail()


def run_code() -> None:
    """What the test has written into the daemon's directory, if anything."""
    if hook := getattr(code, "hook", None):
        hook(_process())


def _process() -> str:
    """ "canary", "worker-1", "supervisor"."""
    record = logging.getLogRecordFactory()("", logging.INFO, "", 0, "", (), None)
    return str(record.__dict__["daemon_worker"])


def tell_and_wait() -> None:
    """Longer than anybody waits for signs of life who expects one within 3 seconds."""
    journal().note("waits")
    time.sleep(4)
    journal().note("has waited")


def tell_and_wait_for_gate() -> None:
    journal().note("waits")
    journal().wait_for_gate()


def leave() -> None:
    sys.exit("the hook leaves")


def begin_injection() -> None:
    """In the supervisor of a start or of a reload; its preflight is another process."""
    # There are many reloads, so they are made short.
    worker_set.PROBATION = 0.1
    if os.environ.get("INJECTION_PREFLIGHT") == "none":
        reload.Preflight = PassedPreflight
    injection.begin(injection.IN_SETUP)


class PassedPreflight:
    """Replaces a reload's preflight where that is not what is tested. It has passed at once."""

    pid = 0

    def __init__(self, invocation: object, deadline: float) -> None:
        pass

    def has_ended(self, now: float) -> bool:
        return True

    def end(self) -> None:
        return None


def wait_for_gate() -> None:
    journal().wait_for_gate()


def open_sessions() -> list[str]:
    """The sockets and the database files that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:  # the directory itself, which was being read
            continue
        if target.startswith("socket:") or "sqlite3" in target:
            found.append(target)
    return found

"""Log records name the daemon, worker and unit of work that they come from."""

import contextvars
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pooldaemon.management.logs import open_log
from pooldaemon.workers.process import log_context
from pooldaemon.workers.worker.activity import Activity
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.thread import WorkerThread

FIELDS = ("daemon_name", "daemon_worker", "daemon_unit")
FORMAT = "%(daemon_name)s %(daemon_worker)s %(daemon_unit)s %(message)s"

logger = logging.getLogger("tests.records")


@pytest.fixture(autouse=True)
def process_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    factory = logging.getLogRecordFactory()
    monkeypatch.setattr(log_context._Process, "daemon", "reminders")
    monkeypatch.setattr(log_context._Process, "worker", "worker-2")
    log_context.add_fields()
    yield
    logging.setLogRecordFactory(factory)


def origin(record: logging.LogRecord) -> tuple[str, ...]:
    return tuple(getattr(record, field) for field in FIELDS)


def run_unit(perform: Any, name: str = "worker-2/thread-3") -> WorkerThread:
    ctx = WorkContext(name, threading.Event())
    thread = WorkerThread(ctx, perform, 1.0, Activity(1, lambda: None))
    thread.run_once()
    return thread


def test_a_record_made_in_a_unit_names_daemon_worker_and_unit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    thread = run_unit(lambda ctx: logger.warning("in a unit"))
    thread.run_once()
    logger.warning("outside")
    assert [origin(record) for record in caplog.records] == [
        ("reminders", "worker-2", "thread-3/1"),
        ("reminders", "worker-2", "thread-3/2"),
        ("reminders", "worker-2", "-"),
    ]


def test_the_failure_of_a_unit_is_logged_as_the_units_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_unit(lambda ctx: 1 / 0)
    (record,) = caplog.records
    assert "a unit of work failed" in record.message
    assert origin(record) == ("reminders", "worker-2", "thread-3/1")


def test_a_thread_that_a_unit_starts_belongs_to_the_worker_and_in_its_context_to_the_unit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def perform(ctx: WorkContext) -> None:
        for target in (logger.warning, contextvars.copy_context().run):
            arguments = ("a line",) if target == logger.warning else (logger.warning, "a line")
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            thread.join()

    run_unit(perform)
    assert [record.__dict__["daemon_unit"] for record in caplog.records] == ["-", "thread-3/1"]
    assert {record.__dict__["daemon_worker"] for record in caplog.records} == {"worker-2"}


def test_a_json_formatter_of_the_projects_own_sees_them() -> None:
    class JSONFormatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return json.dumps({field: record.__dict__[field] for field in FIELDS})

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    logger.addHandler(handler)
    try:
        run_unit(lambda ctx: logger.warning("in a unit"))
    finally:
        logger.removeHandler(handler)
    assert json.loads(stream.getvalue()) == {
        "daemon_name": "reminders",
        "daemon_worker": "worker-2",
        "daemon_unit": "thread-3/1",
    }


@pytest.mark.parametrize("name", ["worker", "unit", "daemon", "job", "taskName"])
def test_a_record_may_still_be_given_extra_values(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    if name == "taskName" and sys.version_info >= (3, 12):
        pytest.skip("logging's own since Python 3.12")
    logger.warning("a line", extra={name: 7})
    assert getattr(caplog.records[0], name) == 7


def test_the_record_factory_that_was_there_before_is_still_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OtherRecord(logging.LogRecord):
        pass

    logging.setLogRecordFactory(OtherRecord)
    log_context.add_fields()
    factory = logging.getLogRecordFactory()
    log_context.add_fields()
    assert logging.getLogRecordFactory() is factory, "once is enough"
    logger.warning("a line")
    assert isinstance(caplog.records[0], OtherRecord)
    assert origin(caplog.records[0]) == ("reminders", "worker-2", "-")


def test_a_factory_that_forgets_the_fields_does_not_break_the_daemons_own_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with open_log(str(tmp_path / "log")):
        logging.setLogRecordFactory(logging.LogRecord)
        logger.warning("a line")
    assert (tmp_path / "log").read_text().endswith(" - -] tests.records: a line\n")


def test_a_format_with_the_fields_fails_in_no_process_of_the_project() -> None:
    code = f"""
import logging, sys, types
import django
from django.apps import AppConfig
from django.conf import settings

class Other(AppConfig):
    name = "other"
    path = "/"
    def ready(self):
        logging.warning("in its ready()")

sys.modules["other"] = types.ModuleType("other")
sys.modules["other"].Other = Other
logging.basicConfig(format={FORMAT!r})
settings.configure(INSTALLED_APPS=["other.Other", "pooldaemon"])
django.setup()
logging.warning("a line")
"""
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert finished.stderr == "- - - in its ready()\n- - - a line\n"

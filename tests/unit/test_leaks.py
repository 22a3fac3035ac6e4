"""Connections that are held for longer than ``leak_threshold``."""

import logging
import threading

import pytest

from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.pool.drivers.mysql.sql.classify import SHOWN_SHAPE, shape
from pooldaemon.pool.queue import lease
from tests.support.poll import wait_until
from tests.unit.fakes import DEADLINE, Pool, Task, give_back

THRESHOLD = 0.1


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("leak-watch")]


def test_a_leak_is_logged_once_and_once_more_when_the_connection_is_returned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool(pool_size=2, leak_threshold=THRESHOLD)
    with caplog.at_level(logging.WARNING, "pooldaemon.pool"):
        connection = pool.borrow()
        lease.physical(connection).last_statement = b"SELECT 'secret' FROM t WHERE id = 42"
        wait_until(lambda: bool(caplog.records), DEADLINE, "nobody noticed")
        with pool.borrowed():  # a short one is not logged
            pass
        give_back(connection)
    pool.close()
    leak, back = (record.getMessage() for record in caplog.records)
    assert "pool fake app@host/db: MainThread has held a connection for 0.1 s" in leak
    assert "(leak_threshold=0.1)" in leak
    assert "fakes.py" in leak
    assert leak.endswith("last statement: SELECT ? FROM t WHERE id = ?")
    assert "MainThread borrowed at" in back
    assert "was returned after 0." in back


def test_the_watch_ends_with_the_last_borrow_and_begins_again() -> None:
    pool = Pool(pool_size=1, leak_threshold=THRESHOLD)
    for _ in range(2):
        with pool.borrowed():
            assert len(watchers()) == 1
        wait_until(lambda: not watchers(), DEADLINE, "it watches nothing for ever")


def test_closing_the_pool_ends_the_watch_at_once() -> None:
    pool = Pool(pool_size=1, leak_threshold=1000)
    with pool.borrowed():
        pool.close()
        assert len(watchers()) == 1, "it is still needed"
    pool.close()
    assert watchers() == []


def test_without_a_threshold_there_is_no_watch() -> None:
    pool = Pool(pool_size=1)
    with pool.borrowed():
        assert watchers() == []


def test_many_threads_start_one_watch() -> None:
    pool = Pool(pool_size=8, leak_threshold=1000)
    ready = threading.Barrier(8)

    def work() -> None:
        ready.wait(DEADLINE)
        with pool.borrowed():
            ready.wait(DEADLINE)
            assert len(watchers()) == 1
            ready.wait(DEADLINE)

    for task in [Task(work) for _ in range(8)]:
        task.result()
    pool.close()


@pytest.mark.parametrize("wrong", [0, -1, "5", True])
def test_a_wrong_threshold_is_refused(wrong: object) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"leak_threshold.*number of seconds from 0\.1"):
        Pool(leak_threshold=wrong)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "SELECT `a`, b2 FROM t WHERE c = 'x''y' AND d=1.5e3",
            "SELECT `a`, b2 FROM t WHERE c = ??",
        ),
        (b"INSERT INTO t VALUES ('a', \"b\", 0xff, -3)", "INSERT INTO t VALUES (?, ?, ?, -?)"),
        ("SELECT 1 /* it's */, 'secret'", "SELECT ? , ?"),
        ("SELECT 1 -- it's\n, 'secret'", "SELECT ? , ?"),
        ("SELECT 1 # it's\n, 'secret'", "SELECT ? , ?"),
        ("SELECT 5--3, 'secret'", "SELECT ?--?, ?"),
        ("SELECT 'a\\', 'secret'", "SELECT ? …"),
        ("SELECT 'cut off sec", "SELECT ?"),
        ("SELECT /* cut off sec", "SELECT"),
        ("UPDATE t\n   SET a = .5", "UPDATE t SET a = ?"),
        ("", ""),
    ],
)
def test_the_shape_of_a_statement_has_no_data(statement: str | bytes, expected: str) -> None:
    expected = expected.replace("c = ??", "c = ?? AND d=?")
    assert shape(statement) == expected


def test_a_long_shape_is_cut() -> None:
    shown = shape("SELECT " + "a, " * 1000)
    assert shown.endswith(" …")
    assert len(shown) <= SHOWN_SHAPE + 2


def test_where_no_thread_can_be_started_a_borrow_goes_on_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(pool_size=1, timeout=0, leak_threshold=THRESHOLD)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "pooldaemon.pool"):
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            give_back(pool.borrow())
    (message,) = caplog.messages
    assert "leak_threshold has no effect as long as no thread can be started" in message
    with pool.borrowed():  # it is tried again
        wait_until(lambda: len(caplog.records) == 2, DEADLINE, "nobody noticed")
    pool.close()

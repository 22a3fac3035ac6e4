"""The bound for what is sent to a server that may not answer."""

import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from pooldaemon.pool import watchdog as module
from pooldaemon.pool.watchdog import Watchdog
from tests.support.poll import wait_until
from tests.support.threads import wait_until_inside
from tests.unit.fakes import DEADLINE, Task

SHORT = 0.05  # seconds
LONG = 60.0


class Peer:
    """A connection whose server says nothing."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.watch = self._ours.fileno()
        self.broken = self.lost = False

    def ask(self) -> bytes:
        """Wait for an answer; empty if the socket was shut down."""
        return self._ours.recv(10)

    def answer(self) -> None:
        self._theirs.send(b"answer")

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watchdog]:
    monkeypatch.setattr(module, "TICK", 0.01)
    watchdog = Watchdog()
    yield watchdog
    watchdog.stop_if_unused()
    assert not _threads()


def _threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "pool-watchdog"]


def test_a_call_without_an_answer_is_ended_within_its_bound(watchdog: Watchdog, peer: Peer) -> None:
    started = time.monotonic()
    with watchdog.bound(peer, SHORT):
        assert peer.ask() == b""
    assert time.monotonic() - started < DEADLINE
    assert peer.broken
    assert peer.lost


def test_a_call_that_has_its_answer_is_left_alone(watchdog: Watchdog, peer: Peer) -> None:
    with watchdog.bound(peer, LONG):
        peer.answer()
        assert peer.ask() == b"answer"
    assert not peer.broken


def test_a_look_that_comes_late_does_not_touch_a_connection_that_is_lent_again(
    watchdog: Watchdog, peer: Peer
) -> None:
    with watchdog.bound(peer, SHORT):
        late = list(watchdog._calls.items())  # what a look has seen before it goes on
    watchdog._calls = Stale(late)
    watchdog._look()
    assert not peer.broken
    peer.answer()
    assert peer.ask() == b"answer"


class Stale(dict[Any, int]):
    """Shows entries that have been taken out meanwhile."""

    def __init__(self, seen: list[Any]) -> None:
        super().__init__()
        self._seen = seen

    def items(self) -> Any:
        return [(connection, 0) for connection, _ in self._seen]


def test_a_socket_is_not_closed_while_it_isshut_down(
    watchdog: Watchdog, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutting, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def slowly(descriptor: int) -> None:
        shutting.set()
        assert go_on.wait(DEADLINE)
        order.append("shut down")

    monkeypatch.setattr(module, "shut_down", slowly)

    def call() -> None:
        with watchdog.bound(peer, SHORT):
            shutting.wait(DEADLINE)
        order.append("may be closed")

    task = Task(call)
    wait_until_inside(task, "TokenLock.wait")
    go_on.set()
    task.result()
    assert order == ["shut down", "may be closed"], "its number could be another socket's by now"
    assert peer.broken


def test_a_bound_inside_another_one_does_not_end_it(watchdog: Watchdog, peer: Peer) -> None:
    with watchdog.bound(peer, SHORT):
        with watchdog.bound(peer, LONG):
            pass
        assert peer.ask() == b""
    assert peer.broken


def test_many_at_once_are_each_ended(watchdog: Watchdog) -> None:
    peers = [Peer() for _ in range(20)]

    def call(peer: Peer) -> bytes:
        with watchdog.bound(peer, SHORT):
            return peer.ask()

    tasks = [Task(call, peer) for peer in peers]
    assert [task.result() for task in tasks] == [b""] * 20
    assert all(peer.broken for peer in peers)
    for peer in peers:
        peer.close()


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_thread")
def test_nothing_is_sent_unwatched_where_no_thread_can_be_started(
    watchdog: Watchdog, peer: Peer
) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="start new thread"), watchdog.bound(peer, LONG):
            pytest.fail("this would be sent")
    with watchdog.bound(peer, LONG, needed=False):
        peer.answer()
        assert peer.ask() == b"answer"
    assert not watchdog._calls


def test_after_a_thread_that_could_not_be_started_the_next_one_is_tried(
    watchdog: Watchdog, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError), watchdog.bound(peer, LONG):
            pytest.fail("this would be sent")
    with watchdog.bound(peer, SHORT):
        assert peer.ask() == b""


def test_a_return_by_the_garbage_collector_in_the_middle_of_a_start(
    watchdog: Watchdog, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, start = Peer(), threading.Thread.start

    def collecting(self: threading.Thread) -> None:
        with pytest.raises(RuntimeError), watchdog.bound(other, LONG):
            pytest.fail("this would be sent")
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", collecting)
        with watchdog.bound(peer, LONG):
            pass
    assert len(_threads()) == 1
    other.close()


def test_the_thread_is_one_and_ends_when_it_is_quiet(watchdog: Watchdog, peer: Peer) -> None:
    for _ in range(50):
        with watchdog.bound(peer, LONG):
            assert len(_threads()) == 1
    wait_until(lambda: not _threads(), DEADLINE, "it stays")


def test_it_does_not_end_under_a_call(watchdog: Watchdog, peer: Peer) -> None:
    with watchdog.bound(peer, LONG):
        watchdog.stop_if_unused()
        assert _threads()
        watchdog._stop.set()
        wait_until(lambda: not watchdog._stop.is_set(), DEADLINE, "it has not looked")
        assert _threads()
        assert watchdog._is_running


def test_a_fork_finds_no_thread_and_a_child_has_one_of_its_own(
    watchdog: Watchdog, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "watchdog", watchdog)
    with watchdog.bound(peer, LONG):
        pass
    watchdog.stop_if_unused()
    assert not _threads()
    with watchdog.bound(peer, LONG), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the thread, from Python 3.12 on
        pid = os.fork()
        if not pid:
            watchdog.begin_in_child()
            mine = Peer()
            with watchdog.bound(mine, SHORT):
                mine.ask()
            os._exit(not mine.broken)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not peer.broken

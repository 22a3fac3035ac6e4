"""The pipe from a worker to its supervisor."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pooldaemon.workers.ipc.channel import Receiver, Sender
from tests.support.threads import wait_until_inside


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def test_messages_arrive_in_order_with_their_values(pipe: tuple[int, int]) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    sender.send("ready")
    sender.send("heartbeat", units=3, idle=False, error="no\nroute")
    assert receiver.receive() == [
        {"kind": "ready"},
        {"kind": "heartbeat", "units": 3, "idle": False, "error": "no\nroute"},
    ]
    assert receiver.receive() == []
    assert not receiver.ended


def test_a_name_with_a_lone_surrogate_arrives(pipe: tuple[int, int]) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    name = os.fsdecode(b"caf\xe9")
    sender.send("pool", pool={"holders": [{"thread": name}]}, thread=name)
    (message,) = receiver.receive()
    assert message["pool"] == {"holders": [{"thread": "caf?"}]}
    assert message["thread"] == "caf?"


def test_a_message_that_has_come_half_is_kept_for_its_rest(pipe: tuple[int, int]) -> None:
    receiver = Receiver(pipe[0])
    os.write(pipe[1], b'{"kind": "a"}\n{"ki')
    assert receiver.receive() == [{"kind": "a"}]
    os.write(pipe[1], b'nd": "b"}\n')
    assert receiver.receive() == [{"kind": "b"}]


def test_the_last_messages_and_the_end_are_seen(pipe: tuple[int, int]) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    sender.send("ready")
    os.close(pipe[1])
    assert receiver.receive() == [{"kind": "ready"}]
    assert receiver.ended
    receiver.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[0])


def test_a_supervisor_that_is_gone_does_not_disturb_the_worker(pipe: tuple[int, int]) -> None:
    sender = Sender(pipe[1])
    os.close(pipe[0])
    sender.send("heartbeat")


LETTERS = ["x", "é", "\u5b57", "\U0001f300", '"', "\n"]


@pytest.mark.parametrize("letter", LETTERS)
def test_a_full_pipe_loses_whole_messages_and_only_those_that_are_repeated(
    pipe: tuple[int, int], letter: str
) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    for number in range(100):
        sender.send("heartbeat", number=number, text=letter * 100_000)
    numbers = [message["number"] for message in receiver.receive()]
    assert numbers == list(range(len(numbers)))
    assert 1 <= len(numbers) < 100
    sender.send("ready")
    assert receiver.receive() == [{"kind": "ready"}]


def fill(sender: Sender) -> None:
    for _ in range(2000):
        sender.send("progress", thread="worker-1/thread-1", done=1, total=2)
    for _ in range(20):
        sender.send("report_end")  # the shortest of all


def important(receiver: Receiver) -> list[str]:
    """What has come beside the filling."""
    messages = receiver.receive()
    return [m["kind"] for m in messages if m["kind"] != "report_end" and m.get("done") is None]


def test_messages_that_are_not_repeated_get_through_a_full_pipe_in_their_order(
    pipe: tuple[int, int],
) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    fill(sender)
    sender.send("progress", thread="worker-1/thread-1", done=None, total=None)
    sender.send("session", number=1)
    fill(sender)
    sender.send("leaving", reason="8 s old")
    assert important(receiver) == []
    sender.send("heartbeat")
    assert important(receiver) == ["progress", "session", "leaving", "heartbeat"]


def test_a_worker_that_ends_waits_until_its_last_messages_are_taken(pipe: tuple[int, int]) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    fill(sender)
    sender.send("leaving", reason="8 s old")
    thread = threading.Thread(target=sender.drain)
    thread.start()
    wait_until_inside(thread, "Sender.drain")
    found: list[str] = []
    while thread.is_alive() or not found:
        found += important(receiver)
        thread.join(0.01)
    assert found == ["leaving"]


def test_nobody_waits_for_a_supervisor_that_is_gone(pipe: tuple[int, int]) -> None:
    sender = Sender(pipe[1])
    fill(sender)
    sender.send("leaving", reason="8 s old")
    os.close(pipe[0])
    sender.drain()


def test_a_message_of_the_garbage_collector_in_the_middle_of_another_is_sent_after_it(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        sender.send("session_over", number=1)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", interrupted)
    sender.send("session", number=2)
    assert [message["kind"] for message in receiver.receive()] == ["session", "session_over"]


def test_what_was_read_before_an_error_is_not_lost(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    sender.send("ready")
    chunks = iter([b'{"kind": "a"}\n{"ki'])

    def read(descriptor: int, size: int) -> bytes:
        for chunk in chunks:
            return chunk
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "read", read)
    assert receiver.receive() == [{"kind": "a"}]
    with pytest.raises(OSError, match="memory"):
        receiver.receive()

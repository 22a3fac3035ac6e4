"""The pipe from a worker to its supervisor."""

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pooldaemon.workers.channel import Receiver, Sender


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


@pytest.mark.parametrize("letter", ["x", "é", "\u5b57", "\U0001f300", '"', "\n"])
def test_a_full_pipe_loses_whole_messages_only(pipe: tuple[int, int], letter: str) -> None:
    receiver, sender = Receiver(pipe[0]), Sender(pipe[1])
    for number in range(100):
        sender.send("boot_failed", number=number, error=letter * 100_000)
    numbers = [message["number"] for message in receiver.receive()]
    assert numbers == list(range(len(numbers)))
    assert 1 <= len(numbers) < 100
    sender.send("ready")
    assert receiver.receive() == [{"kind": "ready"}]

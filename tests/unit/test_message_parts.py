"""What is too long for a message arrives in several, as a whole or not at all."""

import json
import os
from typing import Any

import pytest

from pooldaemon.pool.drivers.mysql.sql.suspects import Suspects
from pooldaemon.workers.ipc.channel import MAX_MESSAGE, Receiver, Sender
from pooldaemon.workers.ipc.messages import FROM_WORKERS
from pooldaemon.workers.ipc.parts import MAX_PARTS, Assembly, split
from pooldaemon.workers.supervisor.handle import WorkerHandle


def suspects(number: int, letter: str = "é") -> Suspects:
    names = frozenset(("", f"{letter * 30}_{n}") for n in range(number))
    return Suspects(names, frozenset({("shop", "t")}), frozenset({"other"}), frozenset({""}), names)


@pytest.mark.parametrize("number", [0, 1, 100, 400])
def test_what_was_split_is_put_together_again(number: int) -> None:
    content = json.loads(json.dumps(suspects(number).to_json()))
    parts, assembly = split(content), Assembly()
    assert all(len(json.dumps(part, ensure_ascii=False).encode()) < MAX_MESSAGE for part in parts)
    found = [assembly.add("k", n, len(parts), part) for n, part in reversed([*enumerate(parts)])]
    assert found[:-1] == [None] * (len(parts) - 1)
    whole: Any = found[-1]
    assert Suspects.from_json(whole) == suspects(number)


def test_what_is_far_too_long_is_not_sent() -> None:
    assert split({"names": [["", f"{'x' * 60}{n}"] for n in range(100_000)]}) == []
    assert split({"names": [["", "x" * 10_000]]}) == []
    assert 1 < len(split({"names": [["", f"{'x' * 60}{n}"] for n in range(2000)]})) <= MAX_PARTS


def test_of_one_whose_part_was_lost_nothing_is_believed() -> None:
    first, second = split({"names": [["", "x" * 60]] * 80})[:2]
    assembly = Assembly()
    assert assembly.add("old", 0, 2, first) is None
    assert assembly.add("new", 1, 2, second) is None
    assert assembly.add("new", 7, 2, second) is None
    assert assembly.add("new", 0, 2, first) is not None
    assert assembly.add("new", 0, 2, first) is None


def test_a_supervisor_takes_over_what_a_worker_sends_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: dict[int, Any] = {}
    monkeypatch.setattr("pooldaemon.pool.drivers.mysql.sql.side_effects.heard", heard)
    reading, writing = os.pipe()
    receiver, sender = Receiver(reading, FROM_WORKERS), Sender(writing)
    handle = WorkerHandle("worker-1", 1, receiver, 0.0, {})
    parts = split(suspects(300).to_json())
    assert len(parts) > 1
    for number, part in enumerate(parts):
        assert heard == {}
        values = {"account": -5, "asked": 3.0, "part": number, "parts": len(parts)}
        assert sender.send("suspects_part", suspects=part, **values)
        handle.read_messages(0.0)
    assert heard[-5].suspects == suspects(300)
    for end in (reading, writing):
        os.close(end)

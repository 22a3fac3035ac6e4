"""Values and lines that nobody should send, made of such as somebody would.

FUZZ_SECONDS says for how long, all tests together; FUZZ_SEED repeats a run.
"""

import array
import copy
import json
import os
import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

SECONDS = float(os.environ.get("FUZZ_SECONDS", "10"))
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(10**6)))

SHARES = 10
"""Tests that the seconds are divided among."""

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 1000, 1001, 2**31, 2**63, -(2**64), 10**400, 10**4090),
    *(0.0, -0.5, 1e308, -1e308, 5e-324, 3.0),
    *("", "default", "worker-1", "x" * 300, "x" * 5000, "\0", "\x1b[2J\r\n", "\ud800", "caf\udce9"),
    *("../../etc/passwd", "1e400", "9" * 5000, "é字🌀", "NaN", "status", "stop", "resume", "[]"),
    *([], {}, [[]], [None], {"": {}}, [["default", 5, 1]], {"kind": "ready"}, {"a": [1, {"b": 2}]}),
]

TOKENS: list[bytes] = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999", b"9" * 5000, b"0" * 99, b"-", b"1."),
    *(b"[" * 4000, b"[" * 900 + b"]" * 900, b'{"a":' * 700 + b"1" + b"}" * 700, b"[" * 100_000),
    *(b'"\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\n"', b"'x'", b"\xef\xbb\xbf1", b"//", b""),
]


class Nonsense:
    """What one test makes up, again and again."""

    def __init__(self, number: int = 0) -> None:
        """
        :param number: of one of several at the same time.
        """
        self.random = random.Random(SEED + number)
        self.rounds = 0

    def go_on(self, attack: Callable[["Nonsense"], object]) -> None:
        """Call *attack* for this test's share of the time, once at the least."""
        end = time.monotonic() + SECONDS / SHARES
        while not self.rounds or time.monotonic() < end:
            self.rounds += 1
            self.last: Any = None
            try:
                attack(self)
            except BaseException as error:
                note = f"FUZZ_SEED={SEED}, round {self.rounds}: {self.last!r}"
                error.add_note(note[:2000])
                raise

    def value(self) -> Any:
        return copy.deepcopy(self.random.choice(VALUES))

    def changed(self, given: Any, changes: int = 3) -> Any:
        """*given* with up to so many values replaced, removed, doubled or added, at any depth."""
        value = copy.deepcopy(given)
        for _ in range(self.random.randint(1, changes)):
            value = self._changed(value)
        return value

    def _changed(self, value: Any) -> Any:
        slots = [(value, key) for key in _keys(value)]
        for where, key in slots:  # grows while it is walked
            slots += [(where[key], inner) for inner in _keys(where[key])]
        if not slots or self.random.random() < 0.05:
            return self.value()
        where, key = self.random.choice(slots)
        match self.random.randrange(5):
            case 0:
                del where[key]
            case 1 if isinstance(where, list):
                where.append(copy.deepcopy(where[key]))
            case 1:
                where[str(self.value())] = where[key]
            case _:
                where[key] = self.value()
        return value

    def text(self, value: Any) -> bytes:
        """*value* in JSON, now and then damaged: a strange token, a byte, its end."""
        line = json.dumps(value).encode()
        if self.random.random() < 0.3 and b":" in line:  # the value of some name
            name, _, rest = line.partition(b": ")
            for _ in range(self.random.randrange(3)):
                more, _, rest = rest.partition(b": ")
                name += b": " + more
            line = name + b": " + self.random.choice(TOKENS) + b", " + rest
        if self.random.random() < 0.1:
            line = self.random.choice(TOKENS)
        if self.random.random() < 0.1:
            at = self.random.randrange(len(line) + 1)
            line = line[:at] + self.random.randbytes(self.random.randrange(4)) + line[at + 1 :]
        if self.random.random() < 0.1:
            line = line[: self.random.randrange(len(line) + 1)]
        if self.random.random() < 0.03:
            line = self.random.randbytes(self.random.randrange(200))
        self.last = line
        return line


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


REQUESTS: list[dict[str, Any]] = [
    {"command": "status"},
    {"command": "stop"},
    {"command": "reload", "environment_of": None},
    {"command": "reload", "environment_of": 4711},
    {"command": "scale", "processes": 3},
    {"command": "pause", "pool": "default"},
    {"command": "resume", "pool": None},
    {"command": "reconnect"},
    {"command": "resize", "pool": "default", "size": 3},
]


def requests(nonsense: Nonsense) -> list[bytes]:
    """Lines for a control socket, each with its end, or with something like it."""
    chosen = [nonsense.random.choice(REQUESTS) for _ in range(nonsense.random.choice([1, 1, 3]))]
    if nonsense.random.random() < 0.8:
        chosen = [nonsense.changed(request) for request in chosen]
    ends = [b"\n", b"\n", b"\n", b"", b"\r\n", b"\0\n"]
    return [nonsense.text(request) + nonsense.random.choice(ends) for request in chosen]


def send(client: socket.socket, data: bytes, way: int, between: Callable[[], object]) -> None:
    """In one of many ways.

    :raises OSError: whoever is at the other end does not want all of it.
    """
    match way:
        case 0:  # a byte at a time
            for at in range(min(len(data), 500)):
                client.send(data[at : at + 1])
                between()
        case 1:  # with descriptors
            with ExitStack() as files:
                given = [files.enter_context(Path(os.devnull).open()).fileno() for _ in range(9)]
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))
                client.sendmsg([data[:100_000]], [rights])
        case 2:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        case 3:  # no more than that
            client.sendall(data[: len(data) // 2])
        case _:
            client.sendall(data)


WAYS = 6

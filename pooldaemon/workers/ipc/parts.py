"""Objects of lists that are too long for a message are sent in several."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

from pooldaemon.workers.ipc.channel import MAX_MESSAGE

ROOM = MAX_MESSAGE - 500
"""Bytes of a part, in JSON. The rest is for the other fields of the message."""

MAX_PARTS = 64
"""Parts of an object. A longer one is not sent: other messages need the pipe, too."""

Lists = Mapping[str, list[Any]]


def split(content: Lists) -> list[Lists]:
    """*content* in parts, of which each fits into a message; empty if that would be too many."""
    parts = [content]
    for part in parts:  # grows while it is walked
        if _size(part) > ROOM and len(parts) < 4 * MAX_PARTS:
            parts += [
                {name: values[: len(values) // 2] for name, values in part.items()},
                {name: values[len(values) // 2 :] for name, values in part.items()},
            ]
    fitting = [part for part in parts if _size(part) <= ROOM]
    return fitting if len(fitting) <= MAX_PARTS and len(parts) < 4 * MAX_PARTS else []


def _size(part: Lists) -> int:
    return len(json.dumps(part, ensure_ascii=False).encode(errors="replace"))


class Assembly:
    """Puts objects together again. One in parts is never taken for the whole of it."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._parts: dict[int, Lists] = {}

    def add(self, key: Hashable, number: int, parts: int, content: Lists) -> Lists | None:
        """The object, with its last part.

        :param key: of the object. With another one the parts that have come are forgotten.
        :param number: of this part, from 0. :param parts: how many there are.
        """
        if key != self._key:
            self._key, self._parts = key, {}
        if number < parts:
            self._parts[number] = content
        if len(self._parts) < parts:
            return None
        found = [self._parts[number] for number in range(parts)]
        self._key, self._parts = None, {}
        names = {name for part in found for name in part}
        return {name: [one for part in found for one in part.get(name, [])] for name in names}

"""Runs in the parent: the server sessions of a daemon, in a file that outlives it.

A server notices that its client is gone only at the end of the statement. If the supervisor and
its workers are killed together nobody is left to end what they ran, until the next start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pooldaemon.sessions import Session


class Ledger:
    """
    :param path: beside the pidfile, and under its lock; readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: frozenset[Session] = frozenset()

    def left_over(self) -> tuple[frozenset[Session], float]:
        """What the last daemon did not clear, and when it wrote that (seconds since 1970)."""
        try:
            with self._path.open() as file:
                sessions = frozenset(Session(*entry) for entry in json.load(file))
                return sessions, os.fstat(file.fileno()).st_mtime
        except (OSError, ValueError, TypeError):  # none, or cut off by a full disk
            return frozenset(), 0.0

    def write(self, sessions: Iterable[Session]) -> None:
        """Remember the *sessions* that are open now. A disk that is full is not worth an error."""
        now = frozenset(sessions)
        if now == self._written:
            return
        self._written = now
        fresh = self._path.with_name(self._path.name + ".new")
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
            # Anew each time: whatever lay there under this name, link or file, is not written to.
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(sorted(now), file)
            fresh.replace(self._path)

    def clear(self) -> None:
        """The daemon ends in order."""
        with suppress(OSError):
            self._path.unlink()

"""Runs in the parent: the server sessions of a daemon, in a file that outlives it.

A server notices that its client is gone only at the end of the statement. If the supervisor and
its workers are killed together nobody is left to end what they ran, until the next start.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pooldaemon.sessions import Session
from pooldaemon.workers.process.files import open_file
from pooldaemon.workers.process.shapes import SESSION, misfit

logger = logging.getLogger("pooldaemon.supervisor")


class SessionFile:
    """
    :param path: beside the pidfile, and under its lock; readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: frozenset[Session] = frozenset()

    def left_over(self) -> tuple[frozenset[Session], float]:
        """The sessions that the last daemon left, and when it wrote them (seconds since 1970)."""
        nothing: tuple[frozenset[Session], float] = frozenset(), 0.0
        try:
            # Not another user's file: it could name any session.
            descriptor = open_file(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return nothing
        except OSError as error:
            logger.warning("The list of sessions %s is not used: %s", self._path, error.strerror)
            return nothing
        with os.fdopen(descriptor) as file:
            try:
                content = json.load(file)
            except (ValueError, RecursionError):  # cut off by a full disk, perhaps
                return nothing
            if misfit([SESSION], content, "it"):
                return nothing
            return frozenset(Session(*one) for one in content), os.fstat(descriptor).st_mtime

    def write(self, sessions: Iterable[Session]) -> None:
        """Remember the *sessions* that are open now.

        :raises OSError: it is not possible just now; call it again.
        """
        now = frozenset(sessions)
        if now == self._written:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.unlink(missing_ok=True)
        # A new file each time: an existing link or file of this name is never written to.
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(sorted(now), file)
        fresh.replace(self._path)
        self._written = now

    def clear(self) -> None:
        """Remove the file: the daemon ends in order."""
        with suppress(OSError):
            self._path.unlink()

"""What a pool knows of the code behind its statements, and how it stays true.

Until it knows, every statement may leave something, which costs resets. Its own sessions' DDL makes
it forget at once; what others do is seen when it asks again, on connections that nobody uses at
that moment.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from pooldaemon.pool.drivers.mysql.sql.catalogue import (
    Catalogue,
    Questions,
    find_suspects,
    questions,
)
from pooldaemon.pool.drivers.mysql.sql.classify import Classifier
from pooldaemon.pool.drivers.mysql.sql.suspects import ANYTHING, NONE, Suspects

logger = logging.getLogger("pooldaemon.pool")

RECHECK = 60.0
"""Seconds after which an answer is believed no more: so long somebody else's DDL may go unseen."""

REFRESH = 40.0
"""Seconds after which it is asked again, so that there is a new answer before the old one ends."""

RETRY = 5.0
"""Seconds until another try, where asking failed."""

UNDERSTOOD_CHARSETS = frozenset({"ascii", "latin1", "utf8", "utf8mb3", "utf8mb4"})
"""Under others only ASCII is sure to be read by the server as by us."""

PIECE = 0.008
"""Seconds after which no further question is sent on a connection that others may wait for. One
takes a few milliseconds, so that together they stay below 20."""

# What may bring, change or show triggers, views, functions and columns, at the beginning of a
# statement; or anywhere, in what may be several.
_DDL = re.compile(rb"\s*(?:create|alter|drop|rename|grant|revoke|execute)\b", re.IGNORECASE)
_DDL_ANYWHERE = re.compile(rb"\b(?:create|alter|drop|rename|grant|revoke)\b", re.IGNORECASE)
_SEVERAL = re.compile(rb";|/\*|--|#|^\s*(?:begin|prepare)\b", re.IGNORECASE)


class Answer(NamedTuple):
    """
    :ivar suspects: ``None``: not known.
    :ivar asked: when (monotonic seconds, the same clock for all processes of a machine).
    """

    suspects: Suspects | None
    asked: float

    def is_old(self, now: float) -> bool:
        return self.suspects is None or now - self.asked > RECHECK


UNASKED = Answer(None, float("-inf"))

heard: dict[int, Answer] = {}
"""What other processes were answered, by the hash of what the session was opened with. A daemon's
supervisor is told, and forks: its workers ask once, not each."""


class Session(NamedTuple):
    """What all sessions of a pool have in common.

    :ivar schema: in which their statements run.
    :ivar charset: in which the server reads them.
    """

    schema: str
    mariadb: bool
    charset: str

    @property
    def only_ascii(self) -> bool:
        return self.charset not in UNDERSTOOD_CHARSETS


class _Reading:
    """Questions that are being asked, one connection after the other."""

    def __init__(self, session: Session, version: int, now: float) -> None:
        self.version = version
        self.started = now
        self.catalogue = Catalogue(session.schema)
        self._questions: Questions = questions(self.catalogue, mariadb=session.mariadb)
        self._question: str | None = next(self._questions)

    def go_on(self, ask: Callable[[str], Any], until: Callable[[], bool]) -> bool:
        """Ask some more; says whether all is told."""
        while self._question is not None and not until():
            rows = ask(self._question)
            try:
                self._question = self._questions.send(rows)
            except StopIteration:
                self._question = None
        return self._question is None


class SideEffects:
    """Of one pool. Thread-safe; in a forked child there is a new one.

    :param proves: whether the server is asked at all. If not, a statement is judged by its text.
    :param was_wrong: called when an answer differs from the one before: of what was believed to be
        clean meanwhile, something may not have been.
    """

    def __init__(self, *, proves: bool, was_wrong: Callable[[], object] = lambda: None) -> None:
        self.proves = proves
        self._was_wrong = was_wrong
        self._believed: Suspects | None = None
        """The last answer, also when it has been forgotten."""
        self.answer = UNASKED
        self.version = 0
        """Changes with each DDL of our own: what was asked before it counts no more."""
        self._session: Session | None = None
        self.judge = self._judge_by(ANYTHING if proves else NONE)
        """Of a statement: see :meth:`.statements.Classifier.judge`."""
        self._changed = float("-inf")
        """When DDL of our own ran last."""
        self._retry = 0.0
        # Who takes it out asks; atomically, and nobody waits.
        self._turn: deque[_Reading | None] = deque([None])

    def begin(self, session: Session, account: int, ask: Callable[[str], Any]) -> None:
        """A session is set up; the first one asks, if there is not much to ask for.

        :param ask: sends a question, and returns the rows of its answer.
        """
        if self._session != session:  # or what the server sets up has changed
            self._session = session
            self.forget()
        now = time.monotonic()
        if not self.proves or not self.answer.is_old(now):
            return
        answer = heard.get(account, UNASKED)
        if not answer.is_old(now) and answer.asked > self._changed:
            self.believe(answer)
        else:
            self.read_little(ask)

    def read_little(self, ask: Callable[[str], Any]) -> None:
        """:meth:`read`, unless there is much to be asked for."""
        if self.proves:
            self.read(ask, lambda reading: reading.catalogue.is_big)

    def forget(self) -> None:
        """From the next statement on, nothing is known."""
        self.version += 1
        self.answer = UNASKED
        self.judge = self._judge_by(ANYTHING if self.proves else NONE)

    def note_change(self) -> None:
        """Our own DDL is about to run, or has run."""
        self._changed = time.monotonic()
        self.forget()

    def note_statement(self, statement: bytes | bytearray) -> bool:
        """Whether *statement* may change what is known. If so, it is forgotten."""
        if self.proves and may_be_ddl(statement):
            self.note_change()
            return True
        return False

    def has_expired(self, now: float) -> bool:
        """Forget an answer that is too old; says whether there was one."""
        if self.answer.suspects is None or not self.answer.is_old(now):
            return False
        self.forget()
        return True

    def is_due(self, now: float) -> bool:
        """Whether somebody should :meth:`read`."""
        return (
            self.proves
            and self._session is not None
            and now >= self._retry
            and (self.answer.suspects is None or now - self.answer.asked > REFRESH)
        )

    def read_piece(self, ask: Callable[[str], Any]) -> bool:
        """:meth:`read` for some milliseconds: a question, and others if it took fewer."""
        moments = chain([0.0], iter(time.monotonic, None))
        until = time.monotonic() + PIECE
        return self.read(ask, lambda _: next(moments) > until)

    def read(self, ask: Callable[[str], Any], enough: Callable[[_Reading], bool]) -> bool:
        """Ask until all is known, or *enough* was asked for now. Says whether there is more.

        :raises Exception: what *ask* raises. It will be begun anew after a while.
        """
        if self._session is None:
            return False
        try:
            reading = self._turn.pop()
        except IndexError:  # somebody else does
            return False
        left = None
        try:
            if reading is None or reading.version != self.version:
                reading = _Reading(self._session, self.version, time.monotonic())
            if not reading.go_on(ask, lambda: enough(reading)):
                left = reading
                return True
            return self._conclude(reading)
        except BaseException:
            self._retry = time.monotonic() + RETRY
            raise
        finally:
            self._turn.append(left)

    def _conclude(self, reading: _Reading) -> bool:
        answer = Answer(find_suspects(reading.catalogue), reading.started)
        if reading.version != self.version:
            return True
        self.believe(answer)
        return False

    def believe(self, answer: Answer) -> None:
        suspects, version = answer.suspects, self.version
        if suspects is None or answer.asked <= self.answer.asked:
            return
        self.answer, self.judge = answer, self._judge_by(suspects)
        if version != self.version:  # DDL of another thread's came between
            self.answer, self.judge = UNASKED, self._judge_by(ANYTHING)
        before, self._believed = self._believed, suspects
        if before not in (None, suspects):
            self._was_wrong()

    def _judge_by(self, suspects: Suspects) -> Callable[[str | bytes], int]:
        only_ascii = self._session is not None and self._session.only_ascii
        return _classifier(suspects, only_ascii=only_ascii).judge


def may_be_ddl(statement: bytes | bytearray) -> bool:
    """Whether *statement* may change the schema or what the account is shown of it."""
    if _DDL.match(statement):
        return True
    return bool(_DDL_ANYWHERE.search(statement) and _SEVERAL.search(statement))


@lru_cache(maxsize=128)
def _classifier(suspects: Suspects, *, only_ascii: bool) -> Classifier:
    """Pools that know the same share their verdicts; those that learn nothing new keep them."""
    return Classifier(suspects, only_ascii=only_ascii)

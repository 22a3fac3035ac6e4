"""What a pool knows of the stored code that its statements may run, and how that stays true.

Until it knows, every statement counts as dirty, which costs resets. DDL of its own sessions makes
it forget at once. DDL of others is noticed when it asks the server again, on connections that
nobody uses at that moment.
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
"""Seconds after which an answer expires. DDL of others may go unnoticed for as long."""

REFRESH = 40.0
"""Seconds after which the server is asked again, so that a new answer comes before the old one
expires."""

RETRY = 5.0
"""Seconds until the next attempt after asking has failed."""

UNDERSTOOD_CHARSETS = frozenset({"ascii", "latin1", "utf8", "utf8mb3", "utf8mb4"})
"""In other character sets the server may read characters other than ASCII in another way."""

PIECE = 0.008
"""Seconds after which no further query is sent on a connection that others may wait for. A query
takes a few milliseconds, so that all together take less than 20."""

# Words that may create, change or reveal triggers, views, functions and columns: at the beginning
# of a statement, or anywhere in a text that may be several statements.
_DDL = re.compile(rb"\s*(?:create|alter|drop|rename|grant|revoke|execute)\b", re.IGNORECASE)
_DDL_ANYWHERE = re.compile(rb"\b(?:create|alter|drop|rename|grant|revoke)\b", re.IGNORECASE)
_SEVERAL = re.compile(rb";|/\*|--|#|^\s*(?:begin|prepare)\b", re.IGNORECASE)


class Answer(NamedTuple):
    """
    :ivar suspects: ``None``: not known.
    :ivar asked: when the server was asked, in seconds of the monotonic clock, which all processes
        of a machine share.
    """

    suspects: Suspects | None
    asked: float

    def is_old(self, now: float) -> bool:
        return self.suspects is None or now - self.asked > RECHECK


UNASKED = Answer(None, float("-inf"))

heard: dict[int, Answer] = {}
"""Answers that other processes got, by the hash of the parameters of the connection. The supervisor
of a daemon gets them from its workers and passes them on to those that it forks."""


class Session(NamedTuple):
    """What all sessions of a pool have in common.

    :ivar schema: the one in which their statements run.
    :ivar charset: the one in which the server reads their statements.
    """

    schema: str
    mariadb: bool
    charset: str

    @property
    def only_ascii(self) -> bool:
        return self.charset not in UNDERSTOOD_CHARSETS


class _Reading:
    """A series of queries for the catalogue, which several connections may share."""

    def __init__(self, session: Session, version: int, now: float) -> None:
        self.version = version
        self.started = now
        self.catalogue = Catalogue(session.schema)
        self._questions: Questions = questions(self.catalogue, mariadb=session.mariadb)
        self._question: str | None = next(self._questions)

    def go_on(self, ask: Callable[[str], Any], until: Callable[[], bool]) -> bool:
        """Send queries until *until* is true; returns whether all are answered."""
        while self._question is not None and not until():
            rows = ask(self._question)
            try:
                self._question = self._questions.send(rows)
            except StopIteration:
                self._question = None
        return self._question is None


class SideEffects:
    """The side effects that the statements of one pool may have. Thread-safe; a forked child makes
    a new one.

    :param proves: whether to ask the server. If not, a statement is judged by its text alone.
    :param was_wrong: called when an answer differs from the one before, because some statement may
        have been taken for clean by mistake.
    """

    def __init__(self, *, proves: bool, was_wrong: Callable[[], object] = lambda: None) -> None:
        self.proves = proves
        self._was_wrong = was_wrong
        self._believed: Suspects | None = None
        """The last answer, even after it was forgotten."""
        self.answer = UNASKED
        self.version = 0
        """Changes with each DDL of this pool: queries from before it are out of date."""
        self._session: Session | None = None
        self.judge = self._judge_by(ANYTHING if proves else NONE)
        """Judges a statement: see :meth:`.classify.Classifier.judge`."""
        self._changed = float("-inf")
        """When DDL of this pool ran last."""
        self._retry = 0.0
        # Whoever takes the reading out asks. pop() is atomic, so nobody waits.
        self._turn: deque[_Reading | None] = deque([None])

    def begin(self, session: Session, account: int, ask: Callable[[str], Any]) -> None:
        """Called when a session is set up. The first one asks the server, unless the schema is big.

        :param ask: sends a query and returns its rows.
        """
        if self._session != session:  # the first one, or the server's defaults have changed
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
        """:meth:`read`, unless the schema is big."""
        if self.proves:
            self.read(ask, lambda reading: reading.catalogue.is_big)

    def forget(self) -> None:
        """Forget the answer: from the next statement on, nothing is known."""
        self.version += 1
        self.answer = UNASKED
        self.judge = self._judge_by(ANYTHING if self.proves else NONE)

    def note_change(self) -> None:
        """Called before and after DDL of this pool."""
        self._changed = time.monotonic()
        self.forget()

    def note_statement(self, statement: bytes | bytearray) -> bool:
        """If *statement* may be DDL, forget the answer; returns whether it may be."""
        if self.proves and may_be_ddl(statement):
            self.note_change()
            return True
        return False

    def has_expired(self, now: float) -> bool:
        """Forget an answer that is too old; returns whether there was one."""
        if self.answer.suspects is None or not self.answer.is_old(now):
            return False
        self.forget()
        return True

    def is_due(self, now: float) -> bool:
        """Whether it is time to :meth:`read`."""
        return (
            self.proves
            and self._session is not None
            and now >= self._retry
            and (self.answer.suspects is None or now - self.answer.asked > REFRESH)
        )

    def read_piece(self, ask: Callable[[str], Any]) -> bool:
        """:meth:`read` for ``PIECE`` seconds: one query, and more if that time is not over."""
        moments = chain([0.0], iter(time.monotonic, None))
        until = time.monotonic() + PIECE
        return self.read(ask, lambda _: next(moments) > until)

    def read(self, ask: Callable[[str], Any], enough: Callable[[_Reading], bool]) -> bool:
        """Ask the server until all is known or *enough* returns true; returns whether more is to be
        asked.

        :raises Exception: what *ask* raises. The next attempt begins anew, after ``RETRY`` seconds.
        """
        if self._session is None:
            return False
        try:
            reading = self._turn.pop()
        except IndexError:  # another thread is asking
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
        if version != self.version:  # DDL of another thread ran meanwhile
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
    """Pools with the same suspects share their verdicts, and keep them if nothing changes."""
    return Classifier(suspects, only_ascii=only_ascii)

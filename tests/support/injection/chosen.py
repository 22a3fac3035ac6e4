"""Which failures are tried, and what came of each.

Environment variables, all of them optional:

``INJECTIONS``
    How many of each moment, or ``all``.
``INJECTION_SEED``
    Chooses them.
``INJECTION_TIMES``
    How often in a row a call fails; 0: once, and three times.
``INJECTION_SHARD``
    ``1/3``: the first third of all, so that several processes can share them.
``INJECTION_RESULTS``
    A file to which a line is added for each failure. What has passed according to it is not tried
    again.
"""

import logging
import os
import random
import time
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.injection import MOST, Failure, Injection, failures

logger = logging.getLogger(__name__)

GIVEN = os.environ.get("INJECTIONS", "4")
SEED = int(os.environ.get("INJECTION_SEED", "1"))
TIMES = int(os.environ.get("INJECTION_TIMES", "0"))
SHARD, SHARDS = map(int, os.environ.get("INJECTION_SHARD", "1/1").split("/"))
RESULTS = os.environ.get("INJECTION_RESULTS")

FAILED = "FAILED"
NOT_REACHED = "not reached"

TRIES = 3
"""Groups in which a failure may not be reached before it is tried alone."""


class Result:
    """One failure, while it is tried.

    :ivar outcome: in a word; the test may say more exactly what has come of it.
    """

    def __init__(self) -> None:
        self.outcome = "nothing is lost"

    @property
    def has_failed(self) -> bool:
        return self.outcome == FAILED


Group = tuple[Failure, ...]


class Chosen:
    """First no failure, to see what is called in a moment, and then some of what can fail in it.

    Several are tried together, each of another function. What has not failed then, since another
    one led elsewhere, is tried again, in the end alone; and so is each of a group that did harm.

    :param spread: how many later occurrences of a call are tried beside the first five.
    :param together: how many are tried together.
    """

    def __init__(self, moment: str, spread: int = 0, together: int = MOST) -> None:
        self._moment = moment
        self._spread = spread
        self._together = together
        self._calls: dict[str, int] = {}
        self._left: deque[Failure] = deque()
        self._alone: deque[Failure] = deque()
        self._tries: Counter[Failure] = Counter()
        self._errors: list[str] = []
        self.outcomes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Group]:
        yield (Failure.none(),)
        if not self._calls:
            raise AssertionError(f"{self._moment}: what is called is not known")
        every = [f for count in ([TIMES] if TIMES else [1, 3]) for f in self._failures(count)]
        seen = ", ".join(f"{name} {number}" for name, number in self._calls.items() if number)
        logger.info("%s: %d failures, of %s", self._moment, len(every), seen)
        choice = random.Random(f"{SEED} {self._moment}")
        choice.shuffle(every)
        if GIVEN != "all":
            del every[int(GIVEN) :]
        done = self._done()
        for failure in every:
            # By its name: what is called differs a little from one process to the next.
            mine = zlib.crc32(str(failure).encode()) % SHARDS == SHARD - 1
            if mine and str(failure) not in done:
                self._left.append(failure)
        while self._left or self._alone:
            yield (self._alone.popleft(),) if self._alone else self._next_group()

    def _failures(self, count: int) -> Iterator[Failure]:
        return failures(self._calls, count, self._spread)

    def _done(self) -> set[str]:
        """What has passed before."""
        if RESULTS is None or not Path(RESULTS).exists():
            return set()
        rows = [line.split("\t") for line in Path(RESULTS).read_text().splitlines()]
        return {row[1] for row in rows if row[0] == self._moment and row[2] != FAILED}

    def _next_group(self) -> Group:
        found: dict[str, Failure] = {}
        for failure in self._left:
            if len(found) < self._together:
                found.setdefault(failure.function, failure)
        for failure in found.values():
            self._left.remove(failure)
        return tuple(found.values())

    @contextmanager
    def trying(self, group: Group, injection: Injection) -> Iterator[Result]:
        """A failed assertion in the block is reported at the end, by :meth:`assert_none_failed`."""
        result = Result()
        began = time.monotonic()
        error: Exception | None = None
        try:
            yield result
        except (AssertionError, OSError) as raised:  # the latter: a daemon that does not answer
            error = raised
            result.outcome = FAILED
        hits = injection.disarm()
        seconds = time.monotonic() - began
        if group[0].is_none:
            self._calls = injection.calls
            if error is not None:
                raise error
        elif error is None:
            for failure, hit in zip(group, hits, strict=True):
                self._take(failure, hit, result.outcome, len(group), seconds)
        elif len(group) > 1:
            logger.info("%s, %s: each is tried alone", self._moment, _named(group))
            self._alone.extend(group)
        else:
            self._note_failed(_named(group), error, seconds)

    @contextmanager
    def ending(self, group: Group) -> Iterator[None]:
        """A daemon ends that has gone through several, this one being the last."""
        try:
            yield
        except AssertionError as error:
            self._note_failed(f"{_named(group)}, or one before", error, 0.0)

    def _take(
        self, failure: Failure, hit: int, outcome: str, together: int, seconds: float
    ) -> None:
        if hit or together == 1:
            self._note(str(failure), outcome if hit else NOT_REACHED, hit, together, seconds)
            return
        self._tries[failure] += 1
        (self._left if self._tries[failure] < TRIES else self._alone).append(failure)

    def _note_failed(self, what: str, error: Exception, seconds: float) -> None:
        message = f"{self._moment}, {what}: {error}"
        self._errors.append(message)
        self._note(what, FAILED, 1, 1, seconds, message.splitlines()[0])
        if RESULTS is not None:
            with Path(f"{RESULTS}.errors").open("a") as file:
                file.write(f"{message}\n\n")

    def _note(self, *row: object) -> None:
        """What failed, its outcome, how often, together with how many, seconds, why."""
        logger.info("%s, %s: %s", self._moment, row[0], row[1])
        self.outcomes[str(row[1])] += 1
        if RESULTS is not None:
            with Path(RESULTS).open("a") as file:
                fields = [self._moment, *row]
                file.write(
                    "\t".join(f"{v:.1f}" if isinstance(v, float) else str(v) for v in fields)
                )
                file.write("\n")

    def assert_none_failed(self) -> None:
        logger.info("%s: %s", self._moment, dict(self.outcomes))
        assert not self._errors, "\n\n".join(self._errors)


def _named(group: Group) -> str:
    return ", ".join(map(str, group))

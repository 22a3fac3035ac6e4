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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.injection import Failure, Injection, failures

logger = logging.getLogger(__name__)

GIVEN = os.environ.get("INJECTIONS", "2")
SEED = int(os.environ.get("INJECTION_SEED", "1"))
TIMES = int(os.environ.get("INJECTION_TIMES", "0"))
SHARD, SHARDS = map(int, os.environ.get("INJECTION_SHARD", "1/1").split("/"))
RESULTS = os.environ.get("INJECTION_RESULTS")

FAILED = "FAILED"
NOT_REACHED = "not reached"


class Result:
    """One failure, while it is tried.

    :ivar outcome: in a word; the test may say more exactly what has come of it.
    """

    def __init__(self) -> None:
        self.outcome = "nothing is lost"

    @property
    def has_failed(self) -> bool:
        return self.outcome == FAILED


class Chosen:
    """First no failure, to see what is called in a moment, and then some of what can fail in it.

    :param spread: how many later occurrences of a call are tried beside the first five.
    """

    def __init__(self, moment: str, spread: int = 0) -> None:
        self._moment = moment
        self._spread = spread
        self._calls: dict[str, int] = {}
        self._errors: list[str] = []
        self.outcomes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Failure]:
        yield Failure.none()
        if not self._calls:
            raise AssertionError(f"{self._moment}: what is called is not known")
        every = [f for count in ([TIMES] if TIMES else [1, 3]) for f in self._failures(count)]
        seen = ", ".join(f"{name} {number}" for name, number in self._calls.items() if number)
        logger.info("%s: %d failures, of %s", self._moment, len(every), seen)
        if GIVEN != "all":
            choice = random.Random(f"{SEED} {self._moment}")
            every = choice.sample(every, min(int(GIVEN), len(every)))
        done = self._done()
        for failure in every:
            # By its name: what is called differs a little from one process to the next.
            mine = zlib.crc32(str(failure).encode()) % SHARDS == SHARD - 1
            if mine and str(failure) not in done:
                yield failure

    def _failures(self, count: int) -> Iterator[Failure]:
        return failures(self._calls, count, self._spread)

    def _done(self) -> set[str]:
        """What has passed before."""
        if RESULTS is None or not Path(RESULTS).exists():
            return set()
        rows = [line.split("\t") for line in Path(RESULTS).read_text().splitlines()]
        return {row[1] for row in rows if row[0] == self._moment and row[2] != FAILED}

    @contextmanager
    def trying(self, failure: Failure, injection: Injection) -> Iterator[Result]:
        """What is asserted in the block is told at the end, by :meth:`assert_none_failed`."""
        result = Result()
        began = time.monotonic()
        try:
            yield result
        except (AssertionError, OSError) as error:  # the latter: a daemon that does not answer
            self._errors.append(f"{failure}: {error}")
            result.outcome = FAILED
        hit = injection.disarm()
        if failure.is_none:
            self._calls = injection.calls
        elif not hit and not result.has_failed:
            result.outcome = NOT_REACHED
        self._note(failure, result.outcome, hit, time.monotonic() - began)

    @contextmanager
    def ending(self, failure: Failure) -> Iterator[None]:
        """A daemon ends that has gone through several, this one being the last."""
        try:
            yield
        except AssertionError as error:
            self._errors.append(f"{failure}, or one before: {error}")
            self._note(failure, FAILED, 0, 0.0)

    def _note(self, failure: Failure, outcome: str, hit: int, seconds: float) -> None:
        logger.info("%s, %s: %d times, %s", self._moment, failure, hit, outcome)
        if failure.is_none and outcome != FAILED:
            return
        self.outcomes[outcome] += 1
        if RESULTS is not None:
            row = [self._moment, failure, outcome, hit, f"{seconds:.1f}"]
            if outcome == FAILED:
                row.append(self._errors[-1].splitlines()[0])
                with Path(f"{RESULTS}.errors").open("a") as file:
                    file.write(f"{self._moment}, {self._errors[-1]}\n\n")
            with Path(RESULTS).open("a") as file:
                file.write("\t".join(map(str, row)) + "\n")

    def assert_none_failed(self) -> None:
        logger.info("%s: %s", self._moment, dict(self.outcomes))
        assert not self._errors, "\n\n".join(self._errors)

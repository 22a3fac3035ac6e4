"""A long time of trouble leaves nothing behind: neither memory nor descriptors nor sessions.

SOAK_BORROWS=1000000 makes it long; --log-cli-level=INFO shows the samples.
"""

import logging
import os
import random
import resource
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from django.db import Error as DjangoError
from django.db import connections

from tests.stress.conftest import MakeScratch
from tests.stress.load import UNITS, Load, expect, fetch
from tests.stress.trouble import FORKING, Trouble
from tests.unit.databases import AddDatabase

logger = logging.getLogger(__name__)

pytestmark = [
    pytest.mark.once,
    pytest.mark.mysql,
    pytest.mark.timeout(0),
    pytest.mark.filterwarnings(FORKING),
]

BORROWS = int(os.environ.get("SOAK_BORROWS", "10000"))
THREADS = 50
CAP = 10
SAMPLES = 40
PAUSE = 0.01  # seconds between troubles: the threads are to get somewhere

GROWTH = 1.05
MARGIN = 4 * 1024
"""KiB. What the allocator keeps for 50 threads varies by some MiB; 50 bytes lost per borrow would
show among a million."""


@dataclass(frozen=True)
class Sample:
    """:ivar memory: resident, in KiB."""

    borrows: int
    memory: int
    descriptors: int
    sessions: int


class SoakTrouble(Trouble):
    abandoned = 0

    def weighted(self) -> list[tuple[int, Callable[[], Any]]]:
        return [
            (25, self.end_thread),
            (25, self.look),
            (5, lambda: self.kill("CONNECTION")),
            (5, lambda: self.kill("QUERY")),
            (5, self.close_pool),
            (5, self.resize),
            (5, self.fork),
        ]

    def end_thread(self) -> None:
        """A thread that ends without returning its connection, in the middle of a transaction."""
        self.abandoned += 1

        def work() -> None:
            with suppress(DjangoError):  # its session was killed
                connections[self.alias].set_autocommit(False)
                fetch(connections[self.alias], "SELECT 1")

        threading.Thread(target=work).start()

    def sample(self, borrows: int) -> Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Sample(
            borrows,
            pages * resource.getpagesize() // 1024,
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208  # Path would open one more
            len(self.look()),
        )


def echo(connection: Any, chance: random.Random) -> None:
    token = chance.getrandbits(60)
    expect(fetch(connection, "SELECT %s", [token]), (token,))


def quarter(samples: Sequence[Sample], number: int) -> Sequence[Sample]:
    size = len(samples) // 4
    return samples[number * size : (number + 1) * size]


def typical(samples: Sequence[Sample], what: str) -> float:
    return median(getattr(sample, what) for sample in samples)


def test_nothing_grows(
    add_database: AddDatabase, make_scratch: MakeScratch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "pooldaemon")  # what is logged would be kept in memory
    scratch = make_scratch(limits=f"WITH MAX_USER_CONNECTIONS {CAP}")
    alias = add_database(
        **scratch.account.settings(OPTIONS={"pool": {"pool_size": CAP, "timeout": 30}})
    )
    trouble = SoakTrouble(scratch, alias, CAP)
    threads = threading.active_count()
    samples: list[Sample] = []
    unexplained: list[str] = []
    failures = 0
    with Load(alias, [echo] * 40 + UNITS, THREADS) as load:
        while load.done < BORROWS:
            trouble.make()
            time.sleep(PAUSE)
            if load.done * SAMPLES > BORROWS * len(samples):
                samples.append(trouble.sample(load.done))
                logger.info("%s", samples[-1])
                failed = load.take_failures()
                failures += len(failed)
                unexplained += [str(one) for one in failed if not trouble.explains(one)]
                del trouble.kills[:-1000]
        connections[alias].pool.resize(CAP)  # type: ignore[attr-defined]
    unexplained += [str(one) for one in load.take_failures() if not trouble.explains(one)]
    logger.info(
        "%d borrows, %d failures, %d kills, %d forks, %d abandoned",
        load.done, failures, len(trouble.kills), trouble.children, trouble.abandoned,
    )  # fmt: skip
    assert unexplained == []
    assert trouble.kills
    assert trouble.children
    assert trouble.abandoned
    before, after = quarter(samples, 1), quarter(samples, 3)
    assert typical(after, "memory") <= typical(before, "memory") * GROWTH + MARGIN, samples
    # Each connection has two, and how many are open depends on the resizes of the moment.
    assert typical(after, "descriptors") <= typical(before, "descriptors") + 2 * CAP, samples
    assert max(sample.sessions for sample in samples) <= CAP
    stats = connections[alias].pool.stats()  # type: ignore[attr-defined]
    assert (stats.in_use, stats.waiting, stats.timeouts) == (0, 0, 0)
    assert threading.active_count() <= threads + 1

"""A program whose children do its work, while its own threads use the database.

    python -m tests.servers.project.pools HOW SECONDS

HOW is executor (fork) or a start method of multiprocessing, for its Pool.
"""

import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import django
from django.apps import apps

UNITS = 40
CHILDREN = 3


def unit(_number: int) -> int:
    if not apps.ready:
        django.setup()  # it was not forked, but started
    from django.db import connection  # noqa: PLC0415

    from tests.servers.project.work import write  # noqa: PLC0415

    write()
    connection.close()
    return os.getpid()


def run(pool: Any) -> int:
    with pool:
        return len(list(pool.map(unit, range(UNITS))))


def main(how: str, seconds: float) -> None:
    from tests.servers.project.work import ask, stay_busy  # noqa: PLC0415

    stay_busy()
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end:
        if how == "executor":
            context = multiprocessing.get_context("fork")
            done += run(ProcessPoolExecutor(CHILDREN, mp_context=context))
        else:
            done += run(multiprocessing.get_context(how).Pool(CHILDREN))
        ask()
    sys.stdout.write(str(done))


if __name__ == "__main__":
    # From 3.12 on Python warns of what is done here on purpose.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    django.setup()
    main(sys.argv[1], float(sys.argv[2]))

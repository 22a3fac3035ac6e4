"""What forked children do, and how they end."""

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from django.db import InterfaceError, connection, transaction

from tests.forks.threads import write

PROGRAM = "/bin/true"


class Meant(Exception):
    """A child ends by this."""


@dataclass(frozen=True)
class Child:
    """
    :ivar run: what it does; returning is one way to end.
    :ivar status: its exit status then.
    :ivar writes: whether it commits a unit: two rows.
    """

    run: Callable[[int], Any]
    status: int = 0
    writes: bool = False


def leave_by_sys_exit(_unit: int) -> NoReturn:
    sys.exit(3)


def leave_by_exception(_unit: int) -> NoReturn:
    raise Meant


def leave_by_os_exit(_unit: int) -> NoReturn:
    os._exit(4)


def collect(_unit: int) -> None:
    gc.collect()


def execute(_unit: int) -> NoReturn:
    os.execv(PROGRAM, [PROGRAM])


def use_database(unit: int) -> None:
    write(CHILDREN, unit)
    connection.close()
    write(CHILDREN, unit)


def use_atomic(unit: int) -> None:
    with transaction.atomic():
        write(CHILDREN, unit)
        write(CHILDREN, unit)


def fork_again(unit: int) -> None:
    write(CHILDREN, unit)
    if (pid := os.fork()) == 0:
        sys.exit()
    _, status = os.waitpid(pid, 0)
    write(CHILDREN, unit)
    sys.exit(os.waitstatus_to_exitcode(status))


def use_database_and_leave_by_os_exit(unit: int) -> NoReturn:
    use_database(unit)
    os._exit(5)


CHILDREN = -1
"""Stands for them where a row names its thread."""

OF_MAIN_THREAD = [
    Child(leave_by_sys_exit, 3),
    Child(leave_by_exception, 1),
    Child(leave_by_os_exit, 4),
    Child(collect),
    Child(execute),
    Child(use_database, writes=True),
    Child(use_atomic, writes=True),
    Child(fork_again, writes=True),
]
# There, an exception (SystemExit is one) ends the thread, and with the last one the process.
OF_OTHER_THREADS = [
    Child(leave_by_sys_exit),
    Child(leave_by_exception),
    Child(leave_by_os_exit, 4),
    Child(collect),
    Child(execute),
    Child(use_database, writes=True),
    Child(use_database_and_leave_by_os_exit, 5, writes=True),
    Child(use_atomic, writes=True),
]


def start(child: Child, unit: int) -> int:
    """Fork as a program does that wants a copy of itself."""
    if pid := os.fork():
        return pid
    child.run(unit)
    sys.exit()


def start_inside_atomic(unit: int, number: int) -> int:
    """The transaction goes on in the parent, whatever the child tries."""
    with transaction.atomic():
        write(number, unit)
        if (pid := os.fork()) == 0:
            try:
                write(number, unit)
            except InterfaceError:
                sys.exit(6)
            sys.exit("it wrote in its parent's transaction")
        write(number, unit)
    return pid


def start_with_multiprocessing(unit: int) -> int:
    process = multiprocessing.get_context("fork").Process(target=use_atomic, args=[unit])
    process.start()
    assert process.pid is not None
    return process.pid


def start_with_preexec_fn(_unit: int) -> int:
    process = subprocess.Popen(PROGRAM, preexec_fn=gc.collect)  # noqa: PLW1509  # that is the trial
    process.returncode = 0  # waited for by its number
    return process.pid

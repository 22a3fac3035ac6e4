"""Small programs that fork when they are ending, or in a signal handler.

    python -m tests.forks.exits PROGRAM '{…}'

The second argument is an entry of DATABASES. A program ends with status 0 if its own session was
the same before and after, and all its children ended well.
"""

import atexit
import ctypes
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable

import django
from django.conf import settings
from django.db import connection, transaction

FORKS = 20
INTERVAL = 0.003  # seconds between signals


def session() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return int(cursor.fetchone()[0])


def expect(*, true: bool, otherwise: str) -> None:
    if not true:
        sys.stderr.write(f"{otherwise}\n")
        sys.stderr.flush()
        os._exit(1)


def fork(use: Callable[[], object], end: Callable[[], object] = lambda: os._exit(0)) -> int:
    """The number of a child that uses the database and ends, unless *end* returns."""
    if (pid := os.fork()) == 0:
        use()
        end()
    return pid


def wait(pid: int) -> None:
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        expect(true=status == 0, otherwise=f"a child ended with {status}")


def use_own_session(parents: int) -> None:
    expect(true=session() != parents, otherwise="the parent's session")
    connection.close()


def fork_at_exit() -> None:
    """The child goes on ending where the parent was."""
    before = session()
    pid = fork(lambda: use_own_session(before), lambda: None)
    wait(pid)
    if pid:
        expect(true=session() == before, otherwise="the session was lost")


def handler_before_ours() -> None:
    atexit.register(fork_at_exit)
    session()


def handler_after_ours() -> None:
    session()
    atexit.register(fork_at_exit)


def inside_atomic() -> None:
    block = transaction.atomic()
    block.__enter__()
    before = session()

    def leave() -> None:
        wait(fork(lambda: None))
        expect(true=session() == before, otherwise="the session was lost")

    atexit.register(leave)


def thread_after_main() -> None:
    """The main thread has ended, and the interpreter waits for this one."""

    def run() -> None:
        before = session()
        while threading.main_thread().is_alive():
            time.sleep(0.001)
        for _ in range(FORKS):
            wait(fork(lambda: use_own_session(before)))
            wait(fork(lambda: use_own_session(before), sys.exit))
        expect(true=session() == before, otherwise="the session was lost")
        connection.close()

    threading.Thread(target=run).start()


def daemon_thread() -> None:
    """It goes on forking until there is no interpreter left."""
    session()  # and the imports that come with it, whose locks a child would not get
    started = threading.Event()

    def run() -> None:
        while True:
            wait(fork(session))
            started.set()

    threading.Thread(target=run, daemon=True).start()
    started.wait()


def signal_handler() -> None:
    """The handler interrupts the main thread's borrows, statements and returns."""
    parent, own = os.getpid(), session()
    null = os.open(os.devnull, os.O_WRONLY)
    sessions, children = {own}, []

    def fall_through() -> None:
        """Back to what was interrupted, where the child may fail, and says so to nobody."""
        os.dup2(null, sys.stderr.fileno())

    def handle(_signum: int, _frame: object) -> None:
        pid = fork(lambda: None, fall_through if len(children) % 2 else lambda: os._exit(0))
        children.append(pid)
        if pid:
            signal.setitimer(signal.ITIMER_REAL, INTERVAL)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL)
    while len(children) < FORKS:
        try:
            with transaction.atomic():
                sessions.add(session())
            connection.close()
        finally:
            if os.getpid() != parent:
                os._exit(0)
    if os.getpid() != parent:
        os._exit(0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for pid in children:
        os.waitpid(pid, 0)
    expect(true=len(sessions) == 1, otherwise=f"the session changed: {sessions}")


def child_unknown_to_python() -> None:
    """It is forked in C, uses nothing, and ends as a program does."""
    before = session()
    connection.close()
    if pid := ctypes.PyDLL(None).fork():
        wait(pid)
        expect(true=session() == before, otherwise="the session was lost")


PROGRAMS = [
    handler_before_ours,
    handler_after_ours,
    inside_atomic,
    thread_after_main,
    daemon_thread,
    signal_handler,
    child_unknown_to_python,
]


if __name__ == "__main__":
    # From 3.12 on Python warns of what is done here on purpose.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    (program,) = (one for one in PROGRAMS if one.__name__ == sys.argv[1])
    settings.configure(DATABASES={"default": json.loads(sys.argv[2])}, USE_TZ=True)
    django.setup()
    program()

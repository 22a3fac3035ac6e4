"""Units and hooks that start processes of their own, in every way there is."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.lifecycle.project.journal import journal

ME = __name__
METHODS = ("fork", "forkserver", "spawn")
_managers: list[Any] = []


def describe(way: str) -> None:
    """What this process has of its parent's."""
    sets = dict.fromkeys(("SigIgn", "SigCgt"), "0")
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in sets:
            sets[name] = value.strip()
    signals = {
        name: [number.name for number in signal.Signals if int(value, 16) >> (number - 1) & 1]
        for name, value in sets.items()
    }
    files = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            files.append(str(entry.readlink()))
        except FileNotFoundError:  # the directory itself, which was being read
            continue
    wakeup = signal.set_wakeup_fd(-1)
    journal().note("child", way=way, ignored=signals["SigIgn"], caught=signals["SigCgt"],
                   files=files, wakeup=wakeup)  # fmt: skip


def _program(way: str) -> list[str]:
    return [sys.executable, "-c", f"from {ME} import describe; describe({way!r})"]


def by_fork(way: str) -> None:
    if (pid := os.fork()) == 0:
        try:
            describe(way)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def by_process(method: str, way: str) -> None:
    process = multiprocessing.get_context(method).Process(target=describe, args=(way,))
    process.start()
    process.join()


def by_pool(method: str, way: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.apply_async(time.sleep, (30,))  # the end of the block terminates it
        pool.apply(describe, (way,))


def by_executor(method: str, way: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        executor.submit(describe, way).result()


def by_manager(method: str, way: str) -> None:
    with multiprocessing.get_context(method).Manager() as manager:
        shared = manager.dict()
        process = multiprocessing.get_context(method).Process(target=_fill, args=(shared, way))
        process.start()
        process.join()
        assert dict(shared) == {"done": way}


def _fill(shared: Any, way: str) -> None:
    shared["done"] = way
    describe(way)


def by_subprocess(way: str) -> None:
    subprocess.run(_program(way), check=True)


def by_preexec(way: str) -> None:
    subprocess.run(_program(way), check=True, preexec_fn=partial(describe, f"{way}, before exec"))


WAYS: dict[str, Callable[[str], None]] = {
    "fork": by_fork,
    "subprocess": by_subprocess,
    "preexec_fn": by_preexec,
}
for _kind in (by_process, by_pool, by_executor, by_manager):
    for _method in METHODS:
        WAYS[f"{_kind.__name__}, {_method}"] = partial(_kind, _method)


def every_way(ctx: Any = None) -> bool:
    for way, start in WAYS.items():
        start(way)
    journal().note("unit")
    return True


def wait_for_ever(ctx: Any) -> None:
    """With a child of each kind that waits; a signal ends it, and the unit notes which."""
    children = [subprocess.Popen(["sleep", "60"])]
    if (forked := os.fork()) == 0:
        try:
            time.sleep(60)
        finally:
            os._exit(13)
    journal().note("started", forked=forked, executed=children[0].pid)
    status = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
    journal().note("ended", forked=status, executed=children[0].wait())


# -- those that come back -----------------------------------------------------------------


def come_back(ctx: Any = None) -> bool:
    """The first call forks a child, which forgets to end."""
    if not journal().events("forked"):
        if (pid := os.fork()) == 0:
            return True
        journal().note("forked", child=pid)
        journal().note("status", status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    journal().note("unit")
    if ctx is not None:
        ctx.wait(0.02)
    return True


def leave(ctx: Any = None) -> None:
    """The child ends as a program does."""
    if (pid := os.fork()) == 0:
        sys.exit(7)
    journal().note("status", status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def fail(ctx: Any = None) -> None:
    if (pid := os.fork()) == 0:
        raise LookupError("the child's own mistake")
    journal().note("status", status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def receive_and_come_back() -> None:
    from pooldaemon.signals import worker_ready  # noqa: PLC0415

    worker_ready.connect(lambda **values: come_back(), weak=False)


def make_manager() -> None:
    manager = multiprocessing.get_context("fork").Manager()
    _managers.append(manager)
    (child,) = multiprocessing.active_children()
    journal().note("manager", manager=child.pid)


def start_in_every_way() -> None:
    every_way()
    journal().note("waiting")


def ask_in_child(ctx: Any) -> None:
    from tests.lifecycle.project.units import ask  # noqa: PLC0415 - models, so after the setup

    ask(ctx)
    if (pid := os.fork()) == 0:
        try:
            ask(ctx)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    journal().note("unit")

"""A thread pool whose threads hold no connection between two tasks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from pooldaemon.connections import auto_close_db

P = ParamSpec("P")
T = TypeVar("T")


def _unit(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    # Not decorated: whatever kind of function it is, calling it is all that a task does.
    with auto_close_db():
        return function(*args, **kwargs)


class PooledThreadPoolExecutor(ThreadPoolExecutor):
    """A :class:`concurrent.futures.ThreadPoolExecutor` whose every task is a unit of work.

    Each call of ``submit()`` and ``map()``, and the initializer in each thread, runs in
    :func:`pooldaemon.auto_close_db`: its connections are back in the pool before its future is
    done. In all else it is the base class, with the same arguments, errors and ``shutdown()``.

    As asyncio's default executor it serves ``asyncio.to_thread()``, ``run_in_executor(None, …)``
    and ``sync_to_async(…, thread_sensitive=False)``.

    Thread-safe. As with the base class, its threads do not survive a fork: make it afterwards.

    :param max_workers: threads. Default: that of the base class, at most 32. More of them than
        connections is fine; they wait for each other.
    :param thread_name_prefix: the threads' names begin with it, also in a ``PoolTimeout``.
    :param initializer: called in each thread at its start.
    :param initargs: its arguments.
    :raises ValueError: *max_workers* is less than 1.
    :raises TypeError: *initializer* is not callable.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if callable(initializer):
            initializer = partial(_unit, initializer)
        super().__init__(max_workers, thread_name_prefix, initializer, initargs)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(_unit, fn, *args, **kwargs)

"""A thread pool executor whose threads hold no connections between tasks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from pooldaemon.connections import auto_close_db

P = ParamSpec("P")
T = TypeVar("T")


def _unit(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    # Not decorated with it, which treats coroutine and generator functions differently: a task only
    # calls the function.
    with auto_close_db():
        return function(*args, **kwargs)


class PooledThreadPoolExecutor(ThreadPoolExecutor):
    """A :class:`concurrent.futures.ThreadPoolExecutor` whose tasks are units of work.

    Each task of ``submit()`` and ``map()``, and the initializer in each thread, runs in
    :func:`pooldaemon.auto_close_db`: its connections are returned before its future is done.
    Apart from that it behaves like the base class.

    As asyncio's default executor it also serves ``asyncio.to_thread()``,
    ``run_in_executor(None, …)`` and ``sync_to_async(…, thread_sensitive=False)``.

    Thread-safe. Not fork-safe, like the base class: threads do not survive a fork, so create it
    after the fork.

    :param max_workers: the number of threads. Default: the base class's, at most 32. It may be
        higher than the number of connections: threads wait for them.
    :param thread_name_prefix: the prefix of the threads' names, which a ``PoolTimeout`` contains.
    :param initializer: called in each thread when it starts.
    :param initargs: the arguments of *initializer*.
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

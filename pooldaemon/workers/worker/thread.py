"""Runs in the child: a thread that does one unit of work after another."""

from __future__ import annotations

import contextvars
import datetime
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db import reset_queries

from pooldaemon.backoff import Backoff
from pooldaemon.connections import auto_close_db
from pooldaemon.faults import fault_point
from pooldaemon.workers.process import log_context
from pooldaemon.workers.process.inheritance import no_child_returns
from pooldaemon.workers.worker.activity import Activity
from pooldaemon.workers.worker.completion import complete
from pooldaemon.workers.worker.context import WorkContext
from pooldaemon.workers.worker.retry import with_retries

logger = logging.getLogger("pooldaemon.workers")

PAUSES = 0.05, 30.0
"""First and longest pause, in seconds, of a thread whose units fail one after the other. The first
is short so that a single failure hardly delays other work. The longest is also how late a worker
may notice that its database is back."""

HOLD = 0.2
"""Seconds between two checks whether paused pools have been resumed."""


class WorkerThread(threading.Thread):
    """Calls ``perform(ctx)`` until the worker drains.

    All units of work run here and nowhere else: their exceptions are logged, and their connections
    returned.

    :param perform: does one unit of work; see ``BaseDaemonCommand.perform`` for what it returns.
    :param idle_interval: seconds to wait after a call that found no work.
    :param retries: how often a unit is retried after a deadlock or lock wait timeout. Default: 0.
    :param is_held: whether no unit may begin now, because pools are paused.
    """

    def __init__(
        self,
        ctx: WorkContext,
        perform: Callable[[WorkContext], Any],
        idle_interval: float,
        activity: Activity,
        retries: int = 0,
        is_held: Callable[[], bool] = lambda: False,
    ) -> None:
        # A daemon thread: one that hangs must not keep the process from ending.
        super().__init__(name=ctx.name, daemon=True)
        self._ctx = ctx
        # Connections are returned between retries, so that each begins like the first.
        self._perform = with_retries(auto_close_db(complete(perform)), retries)
        self._idle_interval = idle_interval
        self._activity = activity
        self._units = itertools.count(1)
        self._is_held = is_held
        self._backoff = Backoff(*PAUSES)

    def run(self) -> None:
        while not self._ctx.stopping:
            self._ctx.wait(HOLD if self._is_held() else self.run_once())

    def run_once(self) -> float:
        """Do one unit; returns the seconds to wait before the next one."""
        # A context of its own: a time zone or language that it activates ends with it.
        return contextvars.copy_context().run(self._run_unit)

    def _run_unit(self) -> float:
        reset_queries()  # with DEBUG, connections collect queries; in a daemon no request ends
        with log_context.unit(f"{self.name.rpartition('/')[2]}/{next(self._units)}"):
            return self._do_unit()

    def _do_unit(self) -> float:
        looked = self._activity.look(self.name)
        try:
            fault_point("before_unit")
            with no_child_returns("perform()"):
                result = self._perform(self._ctx)
            fault_point("after_unit")
        except BaseException:  # a thread that ended would be missing until the worker is replaced
            self._activity.worked(failed=True)
            pause = self._backoff.next_delay()
            logger.exception(
                "%s: a unit of work failed; the next one starts in %.1f s", self.name, pause
            )
            return pause
        finally:
            self._activity.ended(self.name)
            self._ctx.end_unit()
        self._backoff.reset()
        if isinstance(result, datetime.timedelta):
            self._activity.waiting()
            return min(self._idle_interval, max(0.0, result.total_seconds()))
        if result:
            self._activity.worked()
            return 0.0
        self._activity.nothing(self.name, looked)
        return self._idle_interval

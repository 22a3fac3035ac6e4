"""Asks all daemons of a directory for their status, without waiting for any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

from pooldaemon.console.daemons import Daemon
from pooldaemon.console.view import DaemonView, History

Answer = Future[dict[str, Any]]


class Watch:
    """Sends each request in a thread of its own: a daemon that hangs must not delay the others or
    the keyboard. Not thread-safe. Times are seconds of a monotonic clock.

    :param find: returns the daemons of the directory, also those that are not running.
    """

    def __init__(self, find: Callable[[], Sequence[Daemon]]) -> None:
        self._find = find
        self._asked: dict[str, Answer] = {}
        self._histories: dict[str, History] = {}
        self.daemons: dict[str, Daemon] = {}
        """The running ones, by name."""

    @property
    def is_waiting(self) -> bool:
        """Whether a request has not been answered yet."""
        return bool(self._asked)

    def ask(self, now: float) -> None:
        """Ask each running daemon that has answered the last request."""
        found = self._find()
        self.daemons = {daemon.name: daemon for daemon in found if daemon.is_alive}
        for daemon in found:
            self._histories.setdefault(daemon.name, History(daemon.name))
        for name, history in self._histories.items():
            if name not in self.daemons:
                history.ended()
        for name in self.daemons.keys() - self._asked.keys():
            self._histories[name].asked(now)
            answer = self._asked[name] = Answer()
            # A daemon thread, for which the interpreter does not wait at its end.
            thread = threading.Thread(target=_ask, args=[self.daemons[name], answer], daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # there can be no more threads
                answer.set_exception(OSError(str(error)))

    def take(self, now: float) -> bool:
        """Take in the answers that have arrived; returns whether there were any."""
        done = {name: answer for name, answer in self._asked.items() if answer.done()}
        for name, answer in done.items():
            del self._asked[name]
            try:
                status = answer.result()
            except OSError as error:
                status = {"error": error.strerror or str(error)}
            if "error" in status:
                self._histories[name].failed(status["error"])
            else:
                self._histories[name].answered(status, now)
        return bool(done)

    def wait(self) -> None:
        """Block until all requests have been answered or have timed out after 5 seconds."""
        wait(self._asked.values())

    def views(self, now: float) -> list[DaemonView]:
        """All daemons seen so far, by name."""
        return [history.view(now) for _, history in sorted(self._histories.items())]


def _ask(daemon: Daemon, answer: Answer) -> None:
    try:
        answer.set_result(daemon.ask("status"))
    except Exception as error:  # noqa: BLE001 - it is raised again where the answer is taken
        answer.set_exception(error)

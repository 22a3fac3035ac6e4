"""Asks all daemons of a directory, again and again, and waits for none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any

from pooldaemon.console.daemons import Daemon
from pooldaemon.console.view import DaemonView, History

Answer = Future[dict[str, Any]]


class Watch:
    """Each question has a short thread of its own: one daemon that hangs must not hold up the
    others, nor the keyboard. Not thread-safe itself; times are monotonic seconds.

    :param find: the daemons there are, with those that died.
    """

    def __init__(self, find: Callable[[], Sequence[Daemon]]) -> None:
        self._find = find
        self._asked: dict[str, Answer] = {}
        self._histories: dict[str, History] = {}
        self.daemons: dict[str, Daemon] = {}
        """Those that live, by name."""

    @property
    def is_waiting(self) -> bool:
        """Whether a question is under way."""
        return bool(self._asked)

    def ask(self, now: float) -> None:
        """Ask each daemon that lives, unless its last answer is still to come."""
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
            # As a daemon thread, for which the interpreter's end does not wait.
            threading.Thread(target=_ask, args=[self.daemons[name], answer], daemon=True).start()

    def take(self, now: float) -> bool:
        """Note the answers that have come; returns whether there were any."""
        done = {name: answer for name, answer in self._asked.items() if answer.done()}
        for name, answer in done.items():
            del self._asked[name]
            try:
                told = answer.result()
            except OSError as error:
                told = {"error": error.strerror or str(error)}
            if "error" in told:
                self._histories[name].failed(told["error"])
            else:
                self._histories[name].heard(told, now)
        return bool(done)

    def wait(self) -> None:
        """Wait for all answers: up to 5 s."""
        wait(self._asked.values())

    def views(self, now: float) -> list[DaemonView]:
        """All daemons seen so far, by name."""
        return [history.view(now) for _, history in sorted(self._histories.items())]


def _ask(daemon: Daemon, answer: Answer) -> None:
    try:
        answer.set_result(daemon.ask("status"))
    except Exception as error:  # noqa: BLE001 - it is raised again where the answer is taken
        answer.set_exception(error)

"""Runs in the parent: the hook ``setup()``, before any worker is forked."""

from __future__ import annotations

import signal

from pooldaemon.conf import DaemonConfig
from pooldaemon.workers.process.bounded import bounded
from pooldaemon.workers.process.signals import SignalQueue
from pooldaemon.workers.supervisor.services import Services

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


class _EndedMeanwhileError(BaseException):
    """Raised in the hook: nobody needs what it prepares. It is not to catch it with its errors."""


class SetupHook:
    """In the main loop's place, so with signs of life meanwhile.

    :param has_workers: there are some already, after a reload.
    """

    def __init__(
        self, config: DaemonConfig, services: Services, signals: SignalQueue, *, has_workers: bool
    ) -> None:
        self._config = config
        self._services = services
        self._signals = signals
        self._has_workers = has_workers
        self.is_done = False

    def run(self) -> None:
        """Do it. A signal that ends the daemon ends it, and is left to the main loop.

        :raises Exception: what the hook raises. Also that it has been too long, or wanted to exit.
        """
        health, seconds = self._services.health, self._config.setup_timeout
        health.expect_silence(seconds)
        self._give_sign()
        try:
            with bounded("setup()", seconds, self._look):
                self._services.set_up()
        except _EndedMeanwhileError:
            return
        finally:
            health.end_silence(self._config.boot_timeout)
        self.is_done = True

    def _look(self) -> None:
        if self._signals.have_arrived(ENDING):
            raise _EndedMeanwhileError
        self._give_sign()

    def _give_sign(self) -> None:
        if self._has_workers:
            self._services.health.beat("setting up", alive=True)

"""Runs in the parent: starts workers, watches them, ends them.

One thread, no database connection. What happens is decided in :meth:`Supervisor.tick`, which is
given the time; :meth:`Supervisor.run` only waits and calls it.
"""

from __future__ import annotations

import enum
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from pooldaemon.backoff import Backoff
from pooldaemon.conf import DaemonConfig
from pooldaemon.connections import close_pool
from pooldaemon.workers import statuses
from pooldaemon.workers.channel import Receiver, Sender
from pooldaemon.workers.handle import WorkerDeath, WorkerHandle, WorkerState
from pooldaemon.workers.signals import SignalQueue

logger = logging.getLogger("pooldaemon.supervisor")

HANDLED_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGCHLD,
)

TICK = 1.0
"""Seconds between looks when nothing happens. SIGCHLD coalesces, so it can't be relied upon."""

BOOT_ATTEMPTS = 5
"""Tries of the first worker before the daemon gives up; with the delays below about 6 s."""

BOOT_DELAY = 0.5, 8.0
"""First and longest delay, in seconds, between those tries."""

RESPAWN_DELAY = 1.0, 30.0
"""First and longest delay, in seconds, before a worker that died is replaced."""

GOOD_LIFE = 60.0
"""Seconds of life after which a worker's earlier deaths are forgiven."""


class Phase(enum.Enum):
    """Where the daemon is in its life."""

    STARTING = "starting"  # one worker tries; the others start when it is ready
    RUNNING = "running"
    DRAINING = "draining"


class Supervisor:
    """Keeps ``config.processes`` workers alive until told to stop.

    :param config: how many of what, and how long.
    :param run_worker: runs in the child, with the worker's name, the end of its channel and the
        descriptor of its lifeline; returns its exit status.
    :param on_ready: called once, when all workers are ready for the first time.
    :param on_death: told of every worker that died.
    :param release: called in each child after the fork, to close what is the parent's alone.
    :param clock: monotonic seconds.

    A context manager: inside it signals are noted, and :meth:`run` heeds them, those included that
    came before it. TERM, INT and HUP (the terminal is gone) drain; a second one, or QUIT, kills.
    Main thread only.
    """

    def __init__(
        self,
        config: DaemonConfig,
        run_worker: Callable[[str, Sender, int], int],
        *,
        on_ready: Callable[[], None] = lambda: None,
        on_death: Callable[[WorkerDeath], None] = lambda death: None,
        release: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._run_worker = run_worker
        self._on_ready = on_ready
        self._on_death = on_death
        self._release = release
        self._clock = clock
        self._phase = Phase.STARTING
        self._announced = False
        self._told_to_stop = False
        self._status = statuses.OK
        self._kill_at = float("inf")
        names = [f"worker-{number}" for number in range(1, config.processes + 1)]
        self._backoffs = {name: Backoff(*RESPAWN_DELAY) for name in names}
        self._boot_backoff = Backoff(*BOOT_DELAY)
        self._vacancies = dict.fromkeys(names, float("-inf"))  # name -> when to start it
        self._workers: dict[str, WorkerHandle] = {}
        self.history: list[WorkerHandle] = []
        """Every worker that has been ready, in order, with its last report."""

    def __enter__(self) -> Supervisor:
        self._signals = SignalQueue(HANDLED_SIGNALS)
        # Workers hold the other end; whatever way this process dies, they see its end.
        self._lifeline, self._lifeline_held = os.pipe()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for worker in self._workers.values():  # only after an error of our own
            worker.kill()
            os.waitpid(worker.pid, 0)
        os.close(self._lifeline)
        os.close(self._lifeline_held)
        self._signals.close()

    def run(self) -> int:
        """Supervise until everything has ended; returns the exit status."""
        while not self._ended():
            self.tick(self._clock())
            if not self._ended():
                self._signals.wait(self._pause(self._clock()), self._channels())
        return self._status

    def tick(self, now: float) -> None:
        """Look at everything once and do what is due at *now*."""
        for number in self._signals.take():
            self._handle_signal(number, now)
        for worker in list(self._workers.values()):
            worker.read_messages()
            if (death := worker.reap()) is not None:
                self._bury(worker, death, now)
        if self._phase is Phase.STARTING and self._is_any(WorkerState.READY):
            self._phase = Phase.RUNNING
        if self._phase is Phase.RUNNING:
            self._look_at_the_whole(now)
        if now >= self._kill_at:
            self._kill_all()
        if self._phase is not Phase.DRAINING:
            self._fill_vacancies(now)

    def _channels(self) -> list[int]:
        receivers = [worker.receiver for worker in self._workers.values()]
        return [receiver.descriptor for receiver in receivers if not receiver.ended]

    # -- deciding ---------------------------------------------------------------------

    def _ended(self) -> bool:
        return self._phase is Phase.DRAINING and not self._workers

    def _pause(self, now: float) -> float:
        waits_for_first = self._phase is Phase.STARTING and self._workers
        due = [] if waits_for_first else list(self._vacancies.values())
        return max(0.0, min([now + TICK, self._kill_at, *due]) - now)

    def _handle_signal(self, number: signal.Signals, now: float) -> None:
        if number is signal.SIGCHLD:
            return
        if number is signal.SIGQUIT or self._told_to_stop:
            logger.warning("%s: killing the workers", number.name)
            self._drain(now, 0.0)
        else:
            logger.info("%s: draining, for up to %g s", number.name, self._config.graceful_timeout)
            self._drain(now, self._config.graceful_timeout)
        self._told_to_stop = True

    def _drain(self, now: float, seconds: float) -> None:
        self._phase = Phase.DRAINING
        self._kill_at = min(self._kill_at, now + seconds)
        self._vacancies.clear()
        for worker in self._workers.values():
            worker.drain()

    def _kill_all(self) -> None:
        self._kill_at = float("inf")
        for worker in self._workers.values():
            logger.error("%s: killed in the middle of its work", worker)
            worker.kill()
            self._status = statuses.KILLED

    def _look_at_the_whole(self, now: float) -> None:
        if len(self._workers) < self._config.processes:
            return
        if any(worker.state is not WorkerState.READY for worker in self._workers.values()):
            return
        if not self._announced:
            self._announced = True
            self._on_ready()
        if self._config.until_idle and self._all_idle():
            # A worker tells before it takes work. What one has told while another's channel was
            # being read is read now.
            for worker in self._workers.values():
                worker.read_messages()
            if self._all_idle():
                logger.info("no work is left")
                self._drain(now, self._config.graceful_timeout)

    def _all_idle(self) -> bool:
        return all(worker.idle for worker in self._workers.values())

    def _is_any(self, state: WorkerState) -> bool:
        return any(worker.state is state for worker in self._workers.values())

    # -- deaths -----------------------------------------------------------------------

    def _bury(self, worker: WorkerHandle, death: WorkerDeath, now: float) -> None:
        del self._workers[worker.name]
        if worker.was_ready:
            self.history.append(worker)
        try:
            self._on_death(death)
        except Exception:
            logger.exception("worker_died failed")
        if self._phase is Phase.DRAINING:
            if worker.was_ready and death.status != statuses.OK and not worker.was_killed:
                logger.error("%s while it finished its work", death)
                self._status = statuses.KILLED
            return
        if self._phase is Phase.STARTING:
            self._bury_at_start(death, now)
            return
        backoff = self._backoffs[worker.name]
        if now - worker.started >= GOOD_LIFE:
            backoff.reset()
        delay = backoff.next_delay()
        logger.error("%s; another one starts in %.1f s", death, delay)
        self._vacancies[worker.name] = now + delay

    def _bury_at_start(self, death: WorkerDeath, now: float) -> None:
        delay = self._boot_backoff.next_delay()
        if self._boot_backoff.failures >= BOOT_ATTEMPTS:
            logger.critical("Giving up after %d attempts to start: %s", BOOT_ATTEMPTS, death)
            self._status = statuses.BOOT_FAILED
            self._drain(now, 0.0)
            return
        logger.error("%s; next attempt in %.1f s", death, delay)
        self._vacancies = dict.fromkeys([*self._vacancies, death.name], now + delay)

    # -- births -----------------------------------------------------------------------

    def _fill_vacancies(self, now: float) -> None:
        for name, not_before in list(self._vacancies.items()):
            if self._phase is Phase.STARTING and self._workers:
                return  # one at a time until one is ready: a broken set-up must not fork a storm
            if not_before <= now:
                del self._vacancies[name]
                self._start(name, now)

    def _start(self, name: str, now: float) -> None:
        close_pool()  # the child may not inherit a session
        strays = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
        if strays:
            logger.warning(
                "Forking while other threads run: %s. A lock that one of them holds stays locked "
                "in the worker for ever; start threads in worker_init().",
                ", ".join(strays),
            )
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has handlers of its own a signal would run the parent's in it.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._be_worker(name, read_end, write_end, previous)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        os.close(write_end)
        self._workers[name] = WorkerHandle(name, pid, Receiver(read_end), now)
        logger.info("%s: started as pid %d", name, pid)

    def _be_worker(
        self, name: str, read_end: int, write_end: int, mask: set[int | signal.Signals]
    ) -> None:
        """The child's side of the fork. Never returns: the parent's stack is not the child's."""
        status = statuses.CRASHED
        try:
            os.close(read_end)
            os.close(self._lifeline_held)
            for other in self._workers.values():
                other.receiver.close()
            for number in HANDLED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            self._signals.close_descriptors()
            self._release()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = self._run_worker(name, Sender(write_end), self._lifeline)
        except BaseException:
            logger.critical("%s crashed", name, exc_info=True)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            logging.shutdown()
            # Nothing of the parent's may run in the child: no finally, no atexit.
            os._exit(status)

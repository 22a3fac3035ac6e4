"""Runs in the parent: starts workers, watches them, ends them.

One thread, no database connection. What happens is decided in :meth:`Supervisor.tick`, which is
given the time; :meth:`Supervisor.run` only waits and calls it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from pooldaemon.backoff import Backoff
from pooldaemon.conf import DAEMON_RULES, DaemonConfig, PerDatabase
from pooldaemon.pool_commands import LASTING_STATE
from pooldaemon.workers.process import exit_codes, logfiles, safe_logging
from pooldaemon.workers.process.clock import RunningClock
from pooldaemon.workers.process.errors import in_a_line
from pooldaemon.workers.process.inheritance import release_in_children
from pooldaemon.workers.process.shapes import PID, shown
from pooldaemon.workers.process.signals import SignalQueue, blocked, hangup_is_ignored
from pooldaemon.workers.supervisor.budget import Budget
from pooldaemon.workers.supervisor.commands import CommandRelay
from pooldaemon.workers.supervisor.duties import Duties
from pooldaemon.workers.supervisor.handle import NEVER, WorkerDeath, WorkerHandle, WorkerState
from pooldaemon.workers.supervisor.handover import Handover
from pooldaemon.workers.supervisor.phase import Phase
from pooldaemon.workers.supervisor.reaper import Reaper
from pooldaemon.workers.supervisor.reload import Reload, ReloadState
from pooldaemon.workers.supervisor.services import Services
from pooldaemon.workers.supervisor.setup_hook import SetupHook
from pooldaemon.workers.supervisor.spawner import Spawner
from pooldaemon.workers.supervisor.status import describe_workers
from pooldaemon.workers.supervisor.worker_set import AT_ONCE, WorkerSet

logger = logging.getLogger("pooldaemon.supervisor")

HANDLED_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD),
)

TICK = 1.0
"""Seconds between looks when nothing happens. SIGCHLD coalesces, so it can't be relied upon."""

BOOT_ATTEMPTS = 5
"""Tries of the first worker before the daemon gives up; with the delays below about 6 s."""

BOOT_DELAY = 0.5, 8.0
"""First and longest delay, in seconds, between those tries."""

AFTER_FAILURE = 0.1
"""Longest wait, in seconds, after a round with a failure. Descriptors are not watched in it: what
could
not be read is still there and would end every wait at once."""

START_WORKERS, END_SESSIONS = "start workers", "end the sessions of dead workers"
ANSWER = "answer on the control socket"
"""Names of duties."""

ANSWER_DELAY = 1.0
"""Longest delay, in seconds, before clients are accepted again: they wait no longer than 5."""

HISTORY = 1000
"""Dead workers for which the daemon logs a line at its end."""


class Supervisor:
    """Keeps ``config.processes`` workers alive until told to stop.

    :param config: how many of what, and how long.
    :param services: what it calls.
    :param taken_over: what the last supervisor handed over.
    :param clock: for all times here; by default one that goes on where the last supervisor's was.

    A context manager: inside it signals are noted, and :meth:`run` heeds them, those included that
    came before it. Main thread only.
    """

    def __init__(
        self,
        config: DaemonConfig,
        services: Services,
        taken_over: Mapping[str, Any] | None = None,
        clock: RunningClock | None = None,
    ) -> None:
        self._config = config
        self._services = services
        self._taken_over = taken_over
        lost = taken_over.get("lost", 0.0) if taken_over else 0.0
        self._clock = clock or RunningClock(lost=lost)
        self._phase = Phase.STARTING
        self._announced = False
        self._told_to_stop = False
        self._started = self._clock()
        self._last_death: str | None = None
        self._reload = Reload()
        self._duties = Duties()
        self._had_terminal = os.isatty(0)
        self._status = exit_codes.OK
        self._kill_at = NEVER
        """When workers that drain at the daemon's end are killed."""
        self._boot_backoff = Backoff(*BOOT_DELAY)
        self.history: deque[str] = deque(maxlen=HISTORY)
        """A line for each dead worker that has been ready, with its last report."""

    def __enter__(self) -> Supervisor:
        self._signals = SignalQueue(HANDLED_SIGNALS)
        if hangup_is_ignored():
            logger.info("SIGHUP is ignored, as it was at the start (by nohup)")
        state, metrics_server = self._taken_over, self._services.metrics_server
        self._spawner = Spawner(
            self._services.run_worker,
            self._leave_to_parent,
            state and state["spawner"],
            metrics_server,
        )
        release_in_children(self._spawner.leave_to_parent)
        budget = Budget(self._config.total_connections, self._config.max_connections)
        self._worker_set = WorkerSet(self._config.processes, self._fork, budget)
        self._command_relay = CommandRelay(
            self._worker_set, state.get("commands", {}) if state else {}
        )
        self._reaper = Reaper(self._config, self._spawner, self._cut_off)
        self._setup_hook = SetupHook(
            self._config, self._services, self._signals, has_workers=state is not None
        )
        if state:
            self._take_over(state, self._clock())
        elif self._services.session_file:
            self._reaper.end_left_over(self._services.session_file)
        # Blocked while the daemon was detached, or before this process was executed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        return self

    def _take_over(self, state: Mapping[str, Any], now: float) -> None:
        """Continue with the state of the last supervisor, which ran in this same process."""
        self._phase = Phase.RUNNING
        self._announced = state.get("announced", True)  # an older version does not hand it over
        self._started = state["started"]
        self._last_death = state["last_death"]
        self._reload = Reload(state["reload"], ReloadState.ROLLING)
        self._signals.put_back(n for n in state.get("signals", ()) if n in HANDLED_SIGNALS)
        self.history.extend(state["history"])
        self._worker_set.keep_size(state.get("worker_set", {}))
        for worker in self._worker_set.adopt(
            WorkerHandle.taken_over(w, now) for w in state["workers"]
        ):
            worker.drain()
        self._worker_set.go_on_counting(state.get("worker_set", {}))

    def __exit__(self, *exc_info: object) -> None:
        release_in_children()
        self._reload.cancel()
        self._services.health.end()
        self._services.health.release()
        for worker in (
            self._worker_set.workers.values()
        ):  # there are some only after an error in the supervisor
            worker.kill("the supervisor failed")
        self._spawner.close()  # a worker that could not be killed ends by its parent-death pipe
        for worker in self._worker_set.workers.values():
            with suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
        self._signals.close()

    def run(self) -> int:
        """Supervise until everything has ended; returns the exit status.

        :raises Exception: at a start: what the owner's set-up raises.
        """
        self._prepare()
        while not self._ended():
            self.tick(self._clock.look())
            if not self._ended():
                self._wait()
        return self._status

    def _wait(self) -> None:
        now = self._clock()
        pause = self._pause(now)
        channels = self._worker_set.descriptors
        if self._duties.failed:
            pause, channels = min(pause, AFTER_FAILURE), []
        elif not self._duties.is_put_off(ANSWER, now):
            channels += self._services.descriptors
        self._clock.wait(pause)
        self._signals.wait(pause, channels)

    def tick(self, now: float) -> None:
        """Do one round: everything that is due at *now*.

        The parts do not depend on each other's success. What workers and their units were promised
        comes first, and is never put off.
        """
        self._duties.failed = False
        signals = self._signals.take()
        # First the workers' messages: a worker that has become ready can be signalled.
        self._listen(now)
        for number in signals:
            self._always(f"heed {number.name}", partial(self._handle_signal, number, now), now)
        for worker in list(self._worker_set.workers.values()):
            self._always(f"look after {worker.name}", partial(self._look_after, worker, now), now)
            self._always(f"signal {worker.name}", worker.flush, now)
        if self._phase is Phase.RUNNING:
            self._always("look after the daemon", lambda: self._look_at_the_whole(now), now)
        if self._phase is not Phase.DRAINING:
            self._start_workers(now)
        self._serve(now)

    def _serve(self, now: float) -> None:
        """The duties that wait for a while after a failure."""
        later, services = self._duties.with_backoff, self._services
        living = self._worker_set.workers.values()
        later(END_SESSIONS, lambda: self._reaper.end_sessions(living, now), now)
        self._always("reload", lambda: self._look_at_the_reload(now), now)
        if (control := services.control) is not None:
            ask = partial(self._answer, now=now)
            later(ANSWER, lambda: control.serve(ask, now), now, ANSWER_DELAY)
        own = {worker.pid for worker in living}
        later("reap", lambda: self._spawner.reap(own | self._reload.children), now)
        later("serve metrics", lambda: self._spawner.keep_metrics_server(now), now)
        for what, duty in services.duties(
            self._worker_set, self._reaper.sessions, self._phase, now
        ):
            later(what, duty, now)
        publish = services.publisher.look
        fork = self._spawner.fork_helper
        later("publish", lambda: publish(now, lambda: self._describe(now), fork), now)

    def _always(self, what: str, duty: Callable[[], object], now: float) -> None:
        self._duties.every_time(what, duty, now)

    def _listen(self, now: float) -> None:
        for worker in self._worker_set.workers.values():
            self._always(f"hear {worker.name}", partial(worker.read_messages, now), now)
        if self._phase is Phase.STARTING and self._worker_set.has_been_ready:
            self._phase = Phase.RUNNING

    def _look_after(self, worker: WorkerHandle, now: float) -> None:
        if (death := worker.reap(now)) is not None:
            self._bury(worker, death, now)
        else:
            self._reaper.judge(worker, now)

    def _prepare(self) -> None:
        """Run ``setup()`` before the first fork. After a reload its failure must not end old
        workers."""
        try:
            self._setup_hook.run()
        except (Exception, SystemExit) as error:
            if self._taken_over is None:
                raise
            logger.exception("setup() failed")
            self._reload.give_up(f"setup() failed: {in_a_line(error)}")
            self._give_up_reload()

    def _prepare_and_fill(self, now: float) -> None:
        """Start workers that are due. If ``setup()`` has failed, it is tried again before."""
        if not self._setup_hook.is_done and self._worker_set.next_start() <= now:
            try:
                self._setup_hook.run()
            except SystemExit as error:
                raise RuntimeError(f"setup() raised {in_a_line(error)}") from error
        if self._setup_hook.is_done:
            self._worker_set.fill(now, one_at_a_time=False)

    def _start_workers(self, now: float) -> None:
        if self._phase is not Phase.STARTING:
            fill = partial(self._prepare_and_fill, now)
            if self._duties.with_backoff(START_WORKERS, fill, now):
                self._worker_set.postpone(self._duties.retry_at(START_WORKERS))
            return
        if not self._setup_hook.is_done:
            return  # a signal has interrupted it, and is handled now
        try:
            # With a broken set-up every worker would fail: until one is ready, only one is started.
            self._worker_set.fill(now, one_at_a_time=True)
        except OSError as error:
            self._retry_start(f"there is no process for a worker: {in_a_line(error)}", now)

    def _fork(self, name: str, caps: PerDatabase, now: float) -> WorkerHandle:
        return self._spawner.fork(name, caps, self._command_relay.standing(), now)

    def _leave_to_parent(self) -> None:
        """In a forked child: close what belongs to the supervisor."""
        self._signals.leave_to_parent()
        self._worker_set.leave_to_parent()
        self._services.health.release()
        self._services.release()

    # -- being asked ------------------------------------------------------------------

    def _answer(self, request: dict[str, Any], now: float) -> dict[str, Any]:
        """The answer to a request on the control socket."""
        match request:
            case {"command": "status"}:
                return self._describe(now)
            case {"command": "stop"}:
                self._stop("stop", now, hurry=False)
                seconds = max(0.0, self._kill_at - now)
                return {"seconds": seconds + self._config.exit_timeout}
            case {"command": "reload"}:
                error = self._begin_reload(now, request.get("environment_of"))
                return {"error": error} if error else self._reload.describe()
            case {"command": "scale", "processes": size}:
                before = self._worker_set.size
                error = self.scale(size)
                return {"error": error} if error else {"before": before, "processes": size}
            case {"command": str(verb)} if verb in LASTING_STATE:
                return self._command_relay.take(request)
        return {"error": f"not understood: {shown(request)}"}

    def _describe(self, now: float) -> dict[str, Any]:
        return {
            "state": self._phase.value,
            "uptime": round(now - self._started, 1),
            "ready": self._worker_set.is_complete,
            "last_death": self._last_death,
            "reload": self._reload.describe(),
            "standing": self._command_relay.describe(),
            "troubles": [*self._duties.describe(now), *safe_logging.describe_troubles()],
            "metrics": self._services.metrics_server and self._services.metrics_server.describe(),
            **self._services.about,
            **describe_workers(self._worker_set, now),
        }

    # -- deciding ---------------------------------------------------------------------

    def _ended(self) -> bool:
        return self._phase is Phase.DRAINING and not self._worker_set.workers

    def _pause(self, now: float) -> float:
        due = [now + TICK, max(self._reaper.end_at, self._duties.retry_at(END_SESSIONS))]
        due += [worker.kill_at for worker in self._worker_set.workers.values()]
        if not (self._phase is Phase.STARTING and self._worker_set.workers):
            due.append(self._worker_set.next_start())
        return max(0.0, min(due) - now)

    def _handle_signal(self, number: signal.Signals, now: float) -> None:
        error = None
        match number:
            case signal.SIGCHLD:
                pass  # its arrival has ended the wait
            case signal.SIGHUP if not self._lost_terminal():
                # The code may have changed since the preflight has read it.
                if not self._reload.note_request():
                    error = self._begin_reload(now)
            case signal.SIGTTIN:
                error = self.scale(self._worker_set.size + 1)
            case signal.SIGTTOU:
                error = self.scale(max(1, self._worker_set.size - 1))
            case signal.SIGUSR1:
                logfiles.reopen()
                self._worker_set.signal(number)
            case signal.SIGUSR2:
                logger.warning("SIGUSR2: the workers log their stacks")
                self._worker_set.signal(number)
            case _:
                hurry = number is signal.SIGQUIT or self._told_to_stop
                self._stop(number.name, now, hurry=hurry)
        if error:
            logger.warning("%s: %s", number.name, error)

    def _stop(self, who: str, now: float, *, hurry: bool) -> None:
        if hurry:
            logger.warning("%s: killing the workers", who)
            self._drain(now)
        else:
            seconds = self._config.graceful_timeout
            logger.info("%s: draining, for up to %g s", who, seconds)
            self._drain(now, seconds)
        self._told_to_stop = True

    def scale(self, size: Any) -> str | None:
        """Change the number of workers; surplus ones drain. Returns an error, or ``None``."""
        if not (rule := DAEMON_RULES["processes"]).accepts(size):
            return f"processes is {shown(size)}; it must be {rule}"
        if self._phase is Phase.DRAINING:
            return "the daemon is draining"
        if size > self._worker_set.most:
            return f"its connections are enough for {self._worker_set.most} workers"
        logger.info("workers: %d (before: %d)", size, self._worker_set.size)
        for worker in self._worker_set.resize(size):
            worker.drain()
        return None

    def _drain(self, now: float, seconds: float = 0.0) -> None:
        begins = self._phase is not Phase.DRAINING
        self._phase = Phase.DRAINING
        self._kill_at = min(self._kill_at, now + seconds)
        self._worker_set.close_vacancies()
        for worker in self._worker_set.workers.values():
            # A worker in its last hook has a time limit already.
            if not (seconds and worker.state is WorkerState.EXITING):
                worker.drain(now + seconds)
        if begins:
            self._reload.cancel()
            self._services.stopping(seconds + self._config.exit_timeout if seconds else 0.0)

    def _cut_off(self) -> None:
        """Note that units of work were lost. At the daemon's end the exit status says so."""
        if self._phase is Phase.DRAINING and self._status == exit_codes.OK:
            self._status = exit_codes.KILLED

    def _look_at_the_whole(self, now: float) -> None:
        # A change during a reload is noticed after it.
        if not self._reload.is_under_way and self._services.has_changed(now):
            self._begin_reload(now)
        has_proven = not self._reload.is_rolling or self._worker_set.has_proven(now)
        if self._worker_set.is_settled and has_proven:
            # One at a time, so that there are never more workers than slots.
            for worker in self._worker_set.outdated()[:1]:
                worker.drain()
        if not self._worker_set.is_complete:
            return
        if not self._announced:
            self._announced = True
            self._services.on_ready()
            self._services.ready()
        if self._reload.is_rolling and has_proven and not self._worker_set.outdated():
            self._reload.finish()
            self._services.ready()
        if self._config.until_idle and self._all_idle():
            # A worker reports before it takes work. Read what was reported while other channels
            # were being read.
            self._listen(now)
            if self._all_idle():
                logger.info("no work is left")
                self._drain(now, self._config.graceful_timeout)

    def _all_idle(self) -> bool:
        return all(worker.report.idle for worker in self._worker_set.workers.values())

    # -- reloading --------------------------------------------------------------------

    def _begin_reload(self, now: float, environment_of: Any = None) -> str | None:
        """Returns why not.

        :param environment_of: the pid of a process whose environment is to be the daemon's.
        """
        if self._services.hand_over is None or self._phase is not Phase.RUNNING:
            return f"can't reload while {self._phase.value}"
        if self._reload.is_trying:
            return "a reload is trying the new code already"
        invocation = self._services.invocation
        if environment_of is not None:
            if not PID.accepts(environment_of):
                return f"environment_of is {shown(environment_of)}; it must be the pid of a process"
            try:
                invocation = invocation.with_environment_of(environment_of)
            except OSError as error:
                return f"the environment of process {environment_of}: {in_a_line(error)}"
        self._reload.begin(now, self._config.preflight_timeout, invocation)
        return None

    def _look_at_the_reload(self, now: float) -> None:
        has_passed = self._reaper.end_at == NEVER and self._reload.has_passed(now)
        if self._reload.take_request():  # handed over to the new code, if it is executed
            self._signals.put_back([signal.SIGHUP])
        if has_passed:
            self._hand_over()

    def _hand_over(self) -> None:
        """Execute the new code in this process. The preflight has passed."""
        if self._services.hand_over is None or self._phase is not Phase.RUNNING:
            return
        self._services.reloading()
        # While the new code is loaded. The preflight had the same time for it.
        self._services.health.expect_silence(self._config.preflight_timeout)
        # Signals so far are handed over; later ones wait in the kernel.
        with blocked():
            signals = self._signals.take()
            try:
                self._services.hand_over(self._describe_for_successor(signals))
            except Exception as error:  # noqa: BLE001 - whatever it is, the daemon goes on without
                self._signals.put_back(signals)
                executable = self._services.invocation.executable
                self._reload.fail(f"{executable} can't be executed: {in_a_line(error)}")
                self._services.health.end_silence(0.0)
                self._services.ready()

    def _describe_for_successor(self, signals: Iterable[signal.Signals]) -> Handover:
        workers = self._worker_set.workers.values()
        state = {
            "started": self._started,
            "lost": self._clock.lost,
            "announced": self._announced,
            "last_death": self._last_death,
            "reload": self._reload.number,
            "signals": [int(number) for number in signals],
            "history": list(self.history),
            "spawner": self._spawner.hand_over(),
            "worker_set": self._worker_set.hand_over(),
            "commands": self._command_relay.hand_over(),
            "workers": [worker.hand_over() for worker in workers],
        }
        descriptors = [
            *self._spawner.parent_death_pipe,
            *(d for w in workers for d in w.descriptors),
        ]
        return Handover(state, descriptors, self._reload.invocation or self._services.invocation)

    def _lost_terminal(self) -> bool:
        """Whether it was started from a terminal that is gone: then the kernel has sent HUP."""
        return self._had_terminal and not os.isatty(0)

    # -- deaths -----------------------------------------------------------------------

    def _bury(self, worker: WorkerHandle, death: WorkerDeath, now: float) -> None:
        self._worker_set.bury(worker)
        if worker.was_ready:
            self.history.append(str(worker))
        if death.status != exit_codes.OK:
            self._last_death = str(death)
        self._services.died(death)
        if death.status != exit_codes.OK:
            self._reaper.note_dead(worker, now)
        if self._phase is Phase.DRAINING:
            self._bury_at_end(worker, death)
        elif self._phase is Phase.STARTING and not worker.was_ready:
            self._worker_set.vacate(worker.name, now)
            self._retry_start(str(death), now)
        elif worker.name not in self._worker_set.slots:
            logger.info("%s, and is not replaced", death)
        else:
            self._replace(worker, death, now)
            self._look_at_reload(worker, death)

    def _look_at_reload(self, worker: WorkerHandle, death: WorkerDeath) -> None:
        """If new code fails after its preflight, the remaining old workers stay."""
        failed = death.status != exit_codes.OK and not worker.inherited
        if failed and self._reload.is_rolling and self._reload.note_failure(death):
            self._give_up_reload()

    def _give_up_reload(self) -> None:
        self._worker_set.spare_outdated()
        self._services.ready()  # as far as possible: systemd learns that the reload is over

    def _bury_at_end(self, worker: WorkerHandle, death: WorkerDeath) -> None:
        if worker.was_ready and death.status != exit_codes.OK and not worker.killed_for:
            logger.error("%s while it finished its work", death)
            self._cut_off()

    def _retry_start(self, reason: str, now: float) -> None:
        delay = self._boot_backoff.next_delay()
        if self._boot_backoff.failures >= BOOT_ATTEMPTS:
            logger.critical("Giving up after %d attempts to start: %s", BOOT_ATTEMPTS, reason)
            self._status = exit_codes.BOOT_FAILED
            self._drain(now)
            return
        logger.error("%s; next attempt in %.1f s", reason, delay)
        self._worker_set.postpone(now + delay)

    def _replace(self, worker: WorkerHandle, death: WorkerDeath, now: float) -> None:
        if worker.retired and (death.status == exit_codes.OK or worker.killed_for):
            self._worker_set.vacate(worker.name, AT_ONCE)
            return
        slot = self._worker_set.slots[worker.name]
        delay = slot.delay_after(worker, now)
        limit = self._config.crash_limit
        # After a failed reload there are old workers that work.
        if limit is not None and slot.crashes >= limit and not self._worker_set.has_inherited:
            logger.critical(
                "Giving up: %s died %d times, never after a good minute; the last one, %s",
                *(worker.name, slot.crashes, death),
            )
            self._status = exit_codes.CRASH_LOOP
            self._drain(now, self._config.graceful_timeout)
            return
        logger.error("%s; another one starts %s", death, f"in {delay:.1f} s" if delay else "now")
        self._worker_set.vacate(worker.name, now + delay)

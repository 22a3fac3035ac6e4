"""The base of daemon commands.

What happens when one is run:

1. ``handle()`` reads the configuration, opens the log and takes the pidfile.
2. ``setup()`` runs once, in the supervisor.
3. The supervisor forks the workers, the first one alone until it is ready. All pools are closed
   before every fork.
4. In a worker, ``worker_init(worker)`` runs, and the databases are tried.
5. In each thread, ``perform(ctx)`` is called again and again.
6. On TERM or INT the workers drain; ``worker_exit(worker)`` runs at their end. On HUP the command
   is executed afresh in the supervisor's place, which goes on with step 2, and with new workers.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS
from django.db import Error as DatabaseError

from pooldaemon.conf import ALL, DaemonConfig, check_settings, of_database
from pooldaemon.connections import unpooled_aliases
from pooldaemon.exceptions import ImproperlyConfigured
from pooldaemon.management.actions import LAUNCHING, Action, Operator, asks_a_daemon, read_action
from pooldaemon.management.limits import excesses
from pooldaemon.management.logs import STDERR
from pooldaemon.management.mistakes import check_command, check_environment
from pooldaemon.management.options import (
    SWITCHES,
    Option,
    add_daemon_arguments,
    config_of,
    find_daemon,
    name_of,
    read_options,
    shown,
)
from pooldaemon.management.systemd import unit_file
from pooldaemon.workers.process import exit_codes, logfiles
from pooldaemon.workers.process.errors import in_a_line
from pooldaemon.workers.supervisor.preflight import Attempt, is_trial
from pooldaemon.workers.supervisor.reload import take_over, takes_over

if TYPE_CHECKING:
    from pooldaemon.management.launch import Launcher
    from pooldaemon.workers.supervisor.handle import WorkerDeath
    from pooldaemon.workers.worker.context import WorkContext
    from pooldaemon.workers.worker.worker import WorkerInfo


class BaseDaemonCommand(BaseCommand):
    """A management command that runs units of work in worker processes and threads.

    Subclasses define :meth:`perform`. The attributes are defaults under ``settings.POOLDAEMON``
    and the command line. Needs ``fork``: Linux, macOS and other Unix systems.

    Exit status: 0 drained, or idle with ``--until-idle``; 1 wrong options or settings; 3 no worker
    could start, or new code could not take over in a reload; 4 units were killed when the graceful
    timeout had passed; 5 a worker crashed again and again.
    """

    processes: int = 1
    """Worker processes, 1 or more."""
    threads: int = 4
    """Threads in each, 1 or more. Choose it for your work: threads that wait for a connection
    or for a slow service cost little."""
    max_connections: int | Mapping[str, int] | None = None
    """Cap of every pool in each worker, 1 or more; or a dict of caps by database, ``"*"`` for all
    others. ``None``: the pools' own settings."""
    total_connections: int | None = None
    """Connections of the whole daemon per database, divided among its workers."""
    idle_interval: float = 1.0
    """Seconds a thread waits after it found no work."""
    graceful_timeout: float = 30.0
    """Seconds running units get to end after TERM or INT."""
    setup_timeout: float = 60.0
    """Seconds :meth:`setup` gets."""
    boot_timeout: float = 60.0
    """Seconds a worker gets to be ready."""
    exit_timeout: float = 30.0
    """Seconds :meth:`worker_exit` gets, or what is left of ``graceful_timeout`` if that is more."""
    heartbeat_timeout: float = 30.0
    """Seconds of a worker's silence after which it is killed and replaced."""
    unit_timeout: float | None = None
    """Seconds after which a unit is taken to hang. ``None``: it may take as long as it likes."""
    crash_limit: int | None = 10
    """Deaths of a worker, each within a minute, after which the daemon gives up."""
    retries: int = 0
    """Further tries of a unit that failed with a deadlock (1213) or lock wait timeout (1205). Only
    for units that can be done again from their beginning."""
    max_units: int | None = None
    """Units after which a worker is replaced. This limit and the next two are lowered at random
    by up to a tenth, so that workers do not leave together."""
    max_rss: int | None = None
    """Memory, in MiB, above which a worker is replaced."""
    max_age: float | None = None
    """Seconds after which a worker is replaced."""
    databases: tuple[str, ...] = (DEFAULT_DB_ALIAS,)
    """Databases that must answer before a worker counts as ready."""

    target_path: str | None = None
    """Of ``rundaemon``: what it runs."""

    # -- for subclasses ---------------------------------------------------------------

    def perform(self, ctx: WorkContext) -> Any:
        """Do one unit of work. Runs in many threads at once, inside ``auto_close_db``.

        :param ctx: tells whether to stop, waits interruptibly, names the worker.
        It may be an ``async def``, which is awaited in an event loop of its own.

        :returns: something true: there may be more, come back at once. Something false: there
            was nothing to do, look again after ``idle_interval``. A ``datetime.timedelta``: there
            is work, which will be due in that time; look again then, or after ``idle_interval``
            if that is sooner. The daemon is not idle in the meantime.

        What it raises is logged and the unit's transaction rolled back; a thread whose units
        fail one after the other waits longer and longer between them, from 0.05 s up to 30 s.
        """
        raise NotImplementedError(f"{type(self).__module__}.Command needs a perform(self, ctx)")

    def setup(self) -> None:
        """Called once in the supervisor before any fork. Its connections are closed after it."""

    def worker_init(self, worker: WorkerInfo) -> None:
        """Called in each worker before its first unit. If it raises, the worker can't start."""

    def worker_exit(self, worker: WorkerInfo) -> None:
        """Called in each worker that ends in order, after its last unit."""

    def worker_died(self, death: WorkerDeath) -> None:
        """Called in the supervisor when a worker has ended, in order or not."""

    # -- for Django -------------------------------------------------------------------

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        logfiles.open_standard_streams()  # the base takes them as they are
        super().__init__(*args, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        add_daemon_arguments(parser)

    def execute(self, *args: Any, **options: Any) -> Any:
        if not hasattr(os, "fork"):
            raise CommandError("a daemon needs fork(), which this platform does not have")
        if asks_a_daemon(options["daemon_action"]):
            # Whatever is wrong with the project, it is no reason to keep an operator from stopping.
            options["skip_checks"] = True
            return super().execute(*args, **options)
        try:
            check_settings()
        except ImproperlyConfigured as error:  # which Django's system checks tell in many lines
            raise CommandError(str(error)) from None
        if takes_over():
            # The preflight has made Django's checks. They may ask a database, and one that is away
            # just now would end the daemon.
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def check(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().check(*args, **kwargs)
        except DatabaseError as error:  # Django 6 asks what types its fields have there
            raise CommandError(
                f"Django's system checks ask a database, which failed: {in_a_line(error)}"
            ) from error

    def handle(self, *args: Any, **options: Any) -> None:
        action = replace(read_action(options["daemon_action"]), update_env=options["update_env"])
        if action.name in LAUNCHING:
            status = self._launch(action, options)
        else:
            status = self._operator(action, options).ask(action, as_json=options["json"])
        if status:
            sys.exit(status)

    def _launch(self, action: Action, options: Mapping[str, Any]) -> int:
        # Here, so that a command can be imported where there is no fork, and says so.
        from pooldaemon.management.launch import Launcher  # noqa: PLC0415

        if not takes_over():
            check_command(self, BaseDaemonCommand)
        found = read_options(self, options)
        config = config_of(found, **{name: options[name] for name in SWITCHES})
        if options["print_systemd"]:
            self.stdout.write(unit_file(name_of(self), self.help, config), ending="")
            return exit_codes.OK
        if is_trial():
            self._try_out(Launcher(self, config, found), Attempt())
        if (told := take_over()) is not None:
            return Launcher(self, config, found).take_over(told)
        operator = self._operator(action, options) if action.name != "run" else None
        detached = options["detach"] or operator is not None
        self._check(config, found, detached=detached)
        if operator is not None and action.name == "restart":
            operator.stop(self.target_path)
        return Launcher(self, config, found).launch(detached=detached)

    def _try_out(self, launcher: Launcher, attempt: Attempt) -> NoReturn:
        status = exit_codes.OK
        try:
            launcher.try_out(attempt)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is told
            self.stderr.write(f"{traceback.format_exc()}\n{in_a_line(error)}")
            status = exit_codes.FAILED
        self.stderr.flush()
        # Threads that worker_init() has started must not keep it.
        os._exit(status)

    def _operator(self, action: Action, options: Mapping[str, Any]) -> Operator:
        pidfile, grace = find_daemon(self, options)
        if pidfile is None:
            raise CommandError(
                f"{action.name} needs a pidfile, to find the daemon by: give --pidfile, "
                "or set settings.POOLDAEMON['PIDFILE']"
            )
        return Operator(name_of(self), pidfile, grace, self.stdout)

    def _check(
        self, config: DaemonConfig, options: Mapping[str, Option], *, detached: bool
    ) -> None:
        if detached and options["logfile"].value in (None, STDERR):
            raise CommandError("--detach needs --logfile: a daemon has no terminal to log to")
        if warning := check_environment(os.environ):
            self.stderr.write(self.style.WARNING(warning))
        if detached and config.autoreload:
            raise CommandError("--autoreload is for development, with run in the foreground")
        for excess in excesses(config, self.databases):
            if config.strict:
                raise CommandError(f"--strict: {excess}")
            self.stderr.write(self.style.WARNING(excess))
        limited = {"max_connections": config.max_connections}
        if config.total_connections is not None:
            limited["total_connections"] = {ALL: config.total_connections}
        for name, numbers in limited.items():
            if aliases := [one for one in unpooled_aliases() if of_database(numbers, one)]:
                self.stderr.write(
                    self.style.WARNING(
                        f"{name}={shown(options[name].value)} does not hold for "
                        f"{', '.join(aliases)}: these databases are not pooled"
                    )
                )

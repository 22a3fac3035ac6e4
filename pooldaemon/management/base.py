"""The base class of daemon commands.

When a daemon command is run:

1. ``handle()`` reads the configuration, opens the log and locks the pidfile.
2. ``setup()`` runs once, in the supervisor.
3. The supervisor closes all pools and forks the first worker; when that is ready, the others.
4. In a worker, ``worker_init(worker)`` runs, and a connection to each of its databases is opened.
5. Each worker thread calls ``perform(ctx)`` again and again.
6. On TERM or INT the workers drain, and ``worker_exit(worker)`` runs at their end. On HUP the
   supervisor executes the command anew in its own process, continues with step 2, and replaces the
   workers.
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
from pooldaemon.management.limits import exceeded_limits
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
from pooldaemon.workers.supervisor.handover import HandoverError, take_over, takes_over
from pooldaemon.workers.supervisor.preflight import Attempt, is_trial

if TYPE_CHECKING:
    from pooldaemon.management.launch import Launcher
    from pooldaemon.workers.supervisor.handle import WorkerDeath
    from pooldaemon.workers.worker.context import WorkContext
    from pooldaemon.workers.worker.worker import WorkerInfo


class BaseDaemonCommand(BaseCommand):
    """A management command that runs units of work in worker processes and threads.

    Subclasses define :meth:`perform`. ``settings.POOLDAEMON``, the environment and the command line
    override the attributes, in this order. Needs ``fork()``: Linux, macOS and other Unix systems.

    Exit status: 0 drained, or idle with ``--until-idle``; 1 wrong options or settings; 3 no worker
    became ready, or new code could not take over in a reload; 4 running units were killed; 5
    workers crashed again and again; 70 an error in this package.
    """

    processes: int = DaemonConfig.processes
    """Worker processes, 1 to 1000."""
    threads: int = DaemonConfig.threads
    """Threads in each worker, 1 to 10000. May be more than connections: threads that wait for a
    connection or for a slow service cost little."""
    max_connections: int | Mapping[str, int] | None = None
    """The cap of every pool in each worker, in connections, 1 or more; or a dict of caps by
    database alias, with ``"*"`` for all others. ``None``: the caps of the pools' settings."""
    total_connections: int | None = DaemonConfig.total_connections
    """The most connections of the whole daemon to each database, 2 or more, divided among its
    workers. One is reserved for helper processes. ``None``: no such limit."""
    idle_interval: float = DaemonConfig.idle_interval
    """Seconds that a thread waits after it has found no work, 0.01 or more."""
    graceful_timeout: float = DaemonConfig.graceful_timeout
    """Seconds that running units have to end after TERM or INT before they are killed, 0 or
    more."""
    setup_timeout: float = DaemonConfig.setup_timeout
    """Seconds that :meth:`setup` may take, 0.1 or more."""
    boot_timeout: float = DaemonConfig.boot_timeout
    """Seconds that a worker has to become ready before it is killed, 0.1 or more."""
    exit_timeout: float = DaemonConfig.exit_timeout
    """Seconds that :meth:`worker_exit` may take, 0.1 or more; or what is left of
    ``graceful_timeout``, if that is longer."""
    heartbeat_timeout: float = DaemonConfig.heartbeat_timeout
    """Seconds without a heartbeat of a worker after which it is killed and replaced, 3 or more."""
    unit_timeout: float | None = DaemonConfig.unit_timeout
    """Seconds that a unit may take, 0.1 or more. After that its statement is killed on the server,
    and its worker is replaced. ``None``: no limit."""
    crash_limit: int | None = DaemonConfig.crash_limit
    """How many deaths of a worker in a row, each within a minute of its start, end the daemon with
    status 5; 1 to 1000. ``None``: no limit."""
    retries: int = DaemonConfig.retries
    """How often a unit is retried after a deadlock (1213) or lock wait timeout (1205), 0 to 20.
    Only for units that can be run again from their beginning."""
    max_units: int | None = DaemonConfig.max_units
    """Units after which a worker is replaced, 1 or more. ``None``: no limit. This limit and the
    next two are lowered at random by up to a tenth, so that workers are not replaced all at
    once."""
    max_rss: int | None = DaemonConfig.max_rss
    """Resident memory in MiB from which a worker is replaced, 1 or more. ``None``: no limit."""
    max_age: float | None = DaemonConfig.max_age
    """Seconds after which a worker is replaced, 1 or more. ``None``: no limit."""
    databases: tuple[str, ...] = (DEFAULT_DB_ALIAS,)
    """Aliases of the databases to which a worker has to connect before it is ready."""

    target_path: str | None = None
    """The dotted path of what ``rundaemon`` runs; ``None`` in other commands."""

    # -- for subclasses ---------------------------------------------------------------

    def perform(self, ctx: WorkContext) -> Any:
        """Do one unit of work. Called by many threads at once, each time in ``auto_close_db``.

        May be an ``async def``, which is awaited in an event loop of its own.

        An exception is logged, and a transaction that is open is rolled back. A thread whose units
        fail one after the other waits between them, from 0.05 seconds up to 30.

        :param ctx: knows whether the worker is draining, waits interruptibly, reports progress.
        :returns: a true value: there may be more work, and it is called again at once. A false
            value: there was none, and it is called again after ``idle_interval``. A
            ``datetime.timedelta``: there is work that is due after that time; it is called again
            then, or after ``idle_interval`` if that is sooner, and ``--until-idle`` does not end.
        """
        raise NotImplementedError(f"{type(self).__module__}.Command needs a perform(self, ctx)")

    def setup(self) -> None:
        """Called in the supervisor before its first fork, at the start and after each reload.

        Also called in the process of a reload's preflight. Connections that it opens are closed
        afterwards. If it raises, the daemon does not start, or the reload fails.
        """

    def worker_init(self, worker: WorkerInfo) -> None:
        """Called in each worker before its first unit. If it raises, the worker does not start."""

    def worker_exit(self, worker: WorkerInfo) -> None:
        """Called in each worker after its last unit, unless it is killed. Exceptions are logged."""

    def worker_died(self, death: WorkerDeath) -> None:
        """Called in the supervisor for each worker that has ended. Exceptions are logged."""

    # -- for Django -------------------------------------------------------------------

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        logfiles.open_standard_streams()  # before the base class uses them
        super().__init__(*args, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        add_daemon_arguments(parser)

    def execute(self, *args: Any, **options: Any) -> Any:
        if not hasattr(os, "fork"):
            raise CommandError("a daemon needs os.fork(), which this platform does not have")
        if asks_a_daemon(options["daemon_action"]):
            # An operator must be able to stop a daemon whose project has errors.
            options["skip_checks"] = True
            return super().execute(*args, **options)
        try:
            check_settings()
        except ImproperlyConfigured as error:  # Django's system checks would print many lines
            raise CommandError(str(error)) from None
        if takes_over():
            # The preflight has run Django's checks. They may query a database: if it is down now,
            # they would end the daemon.
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def check(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().check(*args, **kwargs)
        except DatabaseError as error:  # Django 6 queries the types of columns
            raise CommandError(
                f"Django's system checks failed to query a database: {in_a_line(error)}"
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
        # Imported here, so that a command can be imported, and explain itself, without fork().
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
        try:
            state = take_over()
        except HandoverError as error:
            raise CommandError(str(error)) from None
        if state is not None:
            return Launcher(self, config, found).take_over(state)
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
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the supervisor logs what is written
            self.stderr.write(f"{traceback.format_exc()}\n{in_a_line(error)}")
            status = exit_codes.FAILED
        self.stderr.flush()
        # Threads that worker_init() has started must not keep the process alive.
        os._exit(status)

    def _operator(self, action: Action, options: Mapping[str, Any]) -> Operator:
        pidfile, grace = find_daemon(self, options)
        if pidfile is None:
            raise CommandError(
                f"{action.name} needs the daemon's pidfile: give --pidfile, or set "
                "settings.POOLDAEMON['PIDFILE']"
            )
        return Operator(name_of(self), pidfile, grace, self.stdout)

    def _check(
        self, config: DaemonConfig, options: Mapping[str, Option], *, detached: bool
    ) -> None:
        if detached and options["logfile"].value in (None, STDERR):
            raise CommandError("--detach needs --logfile: a detached daemon has no terminal")
        if warning := check_environment(os.environ):
            self.stderr.write(self.style.WARNING(warning))
        if detached and config.autoreload:
            raise CommandError("--autoreload is for development: it works in the foreground only")
        for excess in exceeded_limits(config, self.databases):
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
                        f"{name}={shown(options[name].value)} has no effect on "
                        f"{', '.join(aliases)}: not pooled by pooldaemon"
                    )
                )

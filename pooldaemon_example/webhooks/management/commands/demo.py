"""The whole example in one command."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import urllib3
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import QuerySet

from pooldaemon_example.webhooks import options
from pooldaemon_example.webhooks.loading import Loaded, load
from pooldaemon_example.webhooks.models import Delivery
from pooldaemon_example.webhooks.receiver import Stats
from pooldaemon_example.webhooks.trial.children import StoppedError, StopRequest, managed
from pooldaemon_example.webhooks.trial.progress import progress
from pooldaemon_example.webhooks.trial.summary import Summary

SAMPLE = Path(__file__).parents[2] / "sample" / "deliveries.jsonl"
LOOPBACK = "http://127.0.0.1:"
LOOK_EVERY = 0.2
THREADS = 8
MAX_CONNECTIONS = 2
DAEMON_GRACE = 10
RECEIVER_GRACE = 5
# Short delays, since the demo includes failures.
SHORT_DELAYS = {
    "WEBHOOK_RETRY_BASE": "0.05",
    "WEBHOOK_RETRY_CAP": "0.5",
    "WEBHOOK_MAX_ATTEMPTS": "5",
}


class Command(BaseCommand):
    help = (
        "Migrate, start a receiver, load the sample, deliver it with `rundaemon --until-idle`, and"
        " check that every line was delivered once or is dead. Deliveries of earlier runs (to"
        " 127.0.0.1) are deleted first. If other deliveries are pending, the demo does not start,"
        " since the daemon would deliver them. In addition to the daemon's connections it uses one"
        " of its own."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        for name, number in _daemon_numbers().items():
            parser.add_argument(
                _flag(name), type=options.count, default=number, help="default %(default)s"
            )
        parser.add_argument(
            "--fail-rate",
            type=options.rate,
            default=0.05,
            help="fraction of requests that the receiver fails, default %(default)s",
        )
        parser.add_argument(
            "--latency",
            type=options.seconds,
            default=0.02,
            help="seconds that the receiver takes for each request, default %(default)s",
        )

    def handle(self, *args: Any, **opts: Any) -> None:
        with StopRequest.watching() as stop:
            try:
                self.run(opts, stop)
            except StoppedError as stopped:
                self.stderr.write(f"stopped by {stopped}")
                sys.exit(stopped.exit_status)
            except DatabaseError as error:
                raise CommandError(f"the database failed: {error}") from error

    def run(self, opts: dict[str, Any], stop: StopRequest) -> None:
        self.prepare_table()
        stop.check()
        receiver = [
            *("webhook_receiver", "--until-eof", "--port=0"),
            *(f"--fail-rate={opts['fail_rate']}", f"--latency={opts['latency']}"),
        ]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with managed(receiver, {}, RECEIVER_GRACE, **pipes) as child:
            url = _listening_url(child)
            stop.check()
            lines = self.load_sample(url)
            deliveries = Delivery.objects.filter(url__startswith=f"{url}/")
            started = time.monotonic()
            workers = self.run_daemon(opts, stop, deliveries, lines)
            seconds = time.monotonic() - started
            stats = urllib3.request("GET", f"{url}/stats", timeout=RECEIVER_GRACE).json()
        summary = Summary.of(deliveries, lines, Stats(**stats), seconds, workers)
        self.stdout.write(summary.text())
        if faults := summary.faults():
            raise CommandError("the numbers do not match: " + "; ".join(faults))

    def prepare_table(self) -> None:
        call_command("migrate", verbosity=0, interactive=False)
        Delivery.objects.filter(url__startswith=LOOPBACK).delete()
        pending = Delivery.objects.filter(status=Delivery.Status.PENDING).count()
        if pending:
            raise CommandError(
                f"the database {connection.settings_dict['NAME']} has pending deliveries of others"
                f" ({pending}): use another DATABASE_URL for the demo"
            )

    def load_sample(self, url: str) -> int:
        done = Loaded()

        def report(line: int, reason: str) -> None:
            raise CommandError(f"{SAMPLE}:{line}: {reason}")

        with SAMPLE.open("rb") as stream:
            load(stream, url, report, done)
        self.stdout.write(f"loaded {done.loaded} deliveries to {url}")
        return done.loaded

    def run_daemon(
        self, opts: dict[str, Any], stop: StopRequest, deliveries: QuerySet[Delivery], lines: int
    ) -> list[str]:
        """Deliver everything; returns the daemon's last lines. Its log is shown only if it fails,
        since the progress bar is drawn on the terminal."""
        command = ["rundaemon", "--until-idle", f"--graceful-timeout={DAEMON_GRACE - 2}"]
        command += [f"{_flag(name)}={opts[name]}" for name in _daemon_numbers()]
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": log}
            with managed(command, SHORT_DELAYS, DAEMON_GRACE, **streams) as daemon:
                self.watch(daemon, stop, deliveries, lines)
            if daemon.returncode:
                self.stderr.write(_content(log))
                self.stderr.write(f"the daemon failed with status {daemon.returncode}")
                sys.exit(_exit_status(daemon.returncode))
            return _content(output).splitlines()

    def watch(
        self,
        daemon: subprocess.Popen[str],
        stop: StopRequest,
        deliveries: QuerySet[Delivery],
        lines: int,
    ) -> None:
        unfinished = deliveries.filter(status=Delivery.Status.PENDING)
        with progress(lines, sys.stdout) as show:
            running = True
            while running:
                stop.check()
                try:
                    daemon.wait(LOOK_EVERY)
                    running = False
                except subprocess.TimeoutExpired:
                    pass
                show(lines - unfinished.count())
                connection.close()


def _daemon_numbers() -> dict[str, int]:
    # On SQLite a thread keeps its connection during the HTTP request, but no server limits them.
    connections = MAX_CONNECTIONS if connection.vendor == "mysql" else THREADS
    return {"processes": 2, "threads": THREADS, "max_connections": connections}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _listening_url(receiver: subprocess.Popen[str]) -> str:
    for line in receiver.stdout or ():
        return line.split()[-1]
    raise CommandError("the receiver has not started")


def _content(file: IO[str]) -> str:
    file.seek(0)
    return file.read().rstrip()


def _exit_status(returncode: int) -> int:
    return returncode if returncode > 0 else 128 - returncode

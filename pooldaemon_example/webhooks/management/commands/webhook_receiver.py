"""Run the local receiver until TERM or INT."""

import os
import signal
import sys
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from pooldaemon_example.webhooks import options
from pooldaemon_example.webhooks.receiver import Behaviour, Receiver

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class Command(BaseCommand):
    help = (
        "Receive webhooks on a local HTTP server. It checks signatures (401 if wrong) and answers"
        " 200, or NNN on the path /status/NNN. GET /stats and /deliveries show what has arrived."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="default %(default)s")
        parser.add_argument(
            "--port", type=options.port, default=8099, help="default %(default)s; 0: a free port"
        )
        parser.add_argument(
            "--fail-rate",
            type=options.rate,
            default=0,
            help="fraction of requests that are answered with 503, from 0 to 1",
        )
        parser.add_argument(
            "--latency", type=options.seconds, default=0, help="seconds before each answer"
        )
        parser.add_argument("--seed", default="", help="a text that determines which attempts fail")
        parser.add_argument(
            "--until-eof",
            action="store_true",
            help="also stop when standard input ends, as when a program that has started the"
            " receiver with a pipe ends",
        )

    def handle(self, *args: Any, **opts: Any) -> None:
        behaviour = Behaviour(
            settings.WEBHOOK_SIGNING_SECRET, opts["fail_rate"], opts["latency"], opts["seed"]
        )
        # Blocked before threads are started, which inherit the mask: the signals are received by
        # sigwait() below.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            with self.bind(opts["host"], opts["port"], behaviour) as server:
                threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
                if opts["until_eof"]:
                    threading.Thread(target=stop_at_eof, daemon=True).start()
                self.stdout.write(f"listening on {server.url}")
                self.stdout.flush()
                signal.sigwait(STOP_SIGNALS)
                server.shutdown()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def bind(self, host: str, port: int, behaviour: Behaviour) -> Receiver:
        try:
            return Receiver((host, port), behaviour)
        except OSError as error:
            raise CommandError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def stop_at_eof() -> None:
    # By descriptor: a thread that is blocked in sys.stdin would hold its lock at the process's end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

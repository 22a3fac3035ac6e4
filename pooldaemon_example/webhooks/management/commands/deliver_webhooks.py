"""The daemon as a command of its own. `manage.py rundaemon` does the same."""

from datetime import timedelta

from pooldaemon import BaseDaemonCommand
from pooldaemon_example.webhooks.delivery import deliver_next


class Command(BaseDaemonCommand):
    help = "Deliver pending webhooks"
    processes = 2
    threads = 8
    max_connections = 2

    def perform(self, ctx: object) -> bool | timedelta:
        return deliver_next(ctx)

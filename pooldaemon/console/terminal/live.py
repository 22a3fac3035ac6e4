"""The main loop of ``top``: requests, keys, drawing."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import closing, suppress
from datetime import datetime

from rich.console import Console
from rich.live import Live

from pooldaemon.console.terminal.controls import Controls
from pooldaemon.console.terminal.keys import Keyboard
from pooldaemon.console.terminal.page import Page
from pooldaemon.console.watch import Watch
from pooldaemon.workers.process.signals import SignalQueue

POLL = 0.05
"""Seconds between two checks for answers."""

SIGNALS = (signal.SIGWINCH, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(watch: Watch, controls: Controls, console: Console, page: Page, interval: float) -> None:
    """Show the daemons of *watch* until a key or a signal ends it. Main thread only.

    :param interval: seconds between two requests.
    """
    with (
        closing(SignalQueue(SIGNALS)) as signals,
        Keyboard(sys.stdin.fileno()) as keyboard,
        Live(console=console, screen=True, auto_refresh=False) as live,
        suppress(EOFError),  # the terminal has been closed
    ):
        due = time.monotonic()
        changed = True
        while not controls.ended:
            now = time.monotonic()
            if now >= due:
                watch.ask(now)
                due = now + interval
                changed = True
            changed = watch.take(now) or changed
            if changed:
                views = watch.views(now)
                live.update(page.draw(views, controls, datetime.now().astimezone()), refresh=True)
            pause = POLL if watch.is_waiting else due - now
            signals.wait(pause, [keyboard.descriptor])
            keys, came = keyboard.read(), signals.take()
            for key in keys:
                controls.press(key, views, watch.daemons)
            if any(number != signal.SIGWINCH for number in came):
                break
            changed = bool(keys or came)

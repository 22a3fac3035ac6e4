"""What daemon and test exchange: events in a file, a gate that opens, and orders."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

VARIABLE = "LIFECYCLE_DIRECTORY"


class Journal:
    """One directory per daemon. Times are monotonic: processes of one machine share that clock."""

    def __init__(self, directory: Path) -> None:
        self._events = directory / "events"
        self._gate = directory / "gate"
        self._orders = directory / "orders"

    def note(self, kind: str, **values: Any) -> None:
        thread = threading.current_thread().name
        event = {"kind": kind, "pid": os.getpid(), "thread": thread, "time": time.monotonic()}
        line = json.dumps(event | values) + "\n"
        # One write to a descriptor that appends: lines of several processes do not mix.
        descriptor = os.open(self._events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def events(self, kind: str, **values: Any) -> list[dict[str, Any]]:
        if not self._events.exists():
            return []
        wanted = {"kind": kind, **values}.items()
        # A reader may see the first part of a line that is being written.
        lines, _, _ = self._events.read_text().rpartition("\n")
        return [event for event in map(json.loads, lines.splitlines()) if wanted <= event.items()]

    def open_gate(self) -> None:
        self._gate.touch()

    def close_gate(self) -> None:
        self._gate.unlink()

    def gate_is_open(self) -> bool:
        return self._gate.exists()

    def wait_for_gate(self) -> None:
        """The daemon's side; deaf to everything else, as work in a C library is."""
        while not self.gate_is_open():
            time.sleep(0.01)

    def order(self, what: str) -> None:
        """Have one thread of the daemon do something, once."""
        self._orders.mkdir(exist_ok=True)
        (self._orders / what).touch()

    def take_order(self, what: str) -> bool:
        """The daemon's side."""
        try:
            (self._orders / what).unlink()
        except FileNotFoundError:
            return False
        self.note(what)
        return True


def journal() -> Journal:
    """The journal of the daemon that this process belongs to."""
    return Journal(Path(os.environ[VARIABLE]))

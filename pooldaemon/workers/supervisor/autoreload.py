"""Runs in the parent, with ``--autoreload``: whether the code has changed.

What to watch is Django's to say, by its own reloader for development. The rest of that is for a
program of one process, which it ends.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

from django.apps import apps
from django.utils.autoreload import StatReloader, autoreload_started

INTERVAL = 1.0
"""Seconds between looks."""


class CodeChanges:
    """Watches the modules that are loaded, all Python files of the project's own apps, loaded or
    not (a worker may import some later), and what receivers of Django's ``autoreload_started``
    ask for, such as templates.
    """

    def __init__(self) -> None:
        self._reloader = StatReloader()
        autoreload_started.send(sender=self._reloader)
        installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")}
        for app in apps.get_app_configs():
            if installed.isdisjoint(Path(app.path).parents):
                self._reloader.watch_dir(app.path, "**/*.py")
        self._known: dict[Path, float] = {}
        self._next_look = 0.0
        self.note()

    def note(self) -> None:
        """Take in what has been loaded meanwhile."""
        self._known = dict(self._reloader.snapshot_files()) | self._known

    def look(self, now: float) -> Path | None:
        """A file that has changed since the last look, if any.

        :param now: monotonic clock.
        """
        if now < self._next_look:
            return None
        self._next_look = now + INTERVAL
        found = dict(self._reloader.snapshot_files())
        changed = [path for path, time in found.items() if self._known.get(path, time) != time]
        self._known |= found  # one that is being replaced may be missing for a moment
        return changed[0] if changed else None

"""What the pools need of the interpreter."""

from __future__ import annotations

import sys

from pooldaemon.exceptions import ImproperlyConfigured


def check_interpreter() -> None:
    """Refuse a free-threaded Python that runs without the global interpreter lock.

    :raises ImproperlyConfigured: it runs so; the message says what to do.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImproperlyConfigured(
            "this Python runs without its global interpreter lock (GIL), on which the pools rely: "
            "connections are taken and returned by operations that are atomic only with it. "
            "Start Python with PYTHON_GIL=1 or -X gil=1, or run a build that has the lock. "
            "OPTIONS['pool'] = False switches pooling off."
        )

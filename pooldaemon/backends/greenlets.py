"""Greenlets instead of threads: gevent's can be used if it has patched the threads in time."""

from __future__ import annotations

import sys
import threading

from django.core.signals import request_started

from pooldaemon.exceptions import ImproperlyConfigured


def check_patches() -> None:
    """Refuse a monkey patch with which a wait would block the process, or a borrow would fail.

    :raises ImproperlyConfigured: the message says what was patched, and what to do.
    """
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise ImproperlyConfigured(
            "eventlet.monkey_patch() has replaced the threads. Pooled connections can't work with "
            "it: it removes select.poll(), by which the pool recognizes a dead connection. Its "
            "authors advise against using it. Use threads or gevent."
        )
    # A lock that was made together with django.db.connections.
    if type(request_started.lock) is not type(threading.Lock()):
        raise ImproperlyConfigured(
            "the threads were monkey-patched after Django had been imported: greenlets would share "
            "connections, and one that waits would stop them all. Put 'from gevent import monkey; "
            "monkey.patch_all()' at the very beginning of the process."
        )

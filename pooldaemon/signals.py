"""Django signals of daemons, for apps that are not the daemon's own: metrics, tracing, caches.

Their sender is the command's class. Each is sent in the main thread of the process named here. A
receiver that raises is logged and stops nothing; connections that receivers borrow go back.
"""

from __future__ import annotations

from django.dispatch import Signal

daemon_ready = Signal()
"""In the supervisor: all workers are ready, at the start and at the end of every reload."""

daemon_reloading = Signal()
"""In the supervisor: the new code has passed its preflight, and is executed in this place next. The
last thing that the old code does there: receivers of the new code connect anew."""

daemon_stopping = Signal()
"""In the supervisor: the daemon begins to drain."""

worker_ready = Signal()
"""In a worker, before its first unit. ``worker``: a ``WorkerInfo``, as for ``worker_init``."""

worker_exiting = Signal()
"""In a worker that ends in order, after its last unit. ``worker``, as above."""

worker_died = Signal()
"""In the supervisor, after the hook of this name: a worker has ended, in order or not. ``death``:
a ``WorkerDeath``."""

"""Django signals of daemons, for other apps: metrics, tracing, caches.

The sender is the command's class. Each is sent in the main thread of the process named below. An
exception of a receiver is logged, and does not stop the daemon. Connections that receivers borrow
are returned.
"""

from __future__ import annotations

from django.dispatch import Signal

daemon_ready = Signal()
"""In the supervisor: all workers are ready, at the start and at the end of each reload."""

daemon_reloading = Signal()
"""In the supervisor: the new code has passed its preflight and is executed next, in this process.
The last signal of the old code: the new code has to connect its receivers again."""

daemon_stopping = Signal()
"""In the supervisor: the daemon begins to drain."""

worker_ready = Signal()
"""In a worker, before its first unit. ``worker``: a ``WorkerInfo``, as for ``worker_init``."""

worker_exiting = Signal()
"""In a worker, after its last unit and before ``worker_exit()``, unless it is killed. ``worker``:
as above."""

worker_died = Signal()
"""In the supervisor, for each worker that has ended, after the hook ``worker_died()``. ``death``: a
``WorkerDeath``."""

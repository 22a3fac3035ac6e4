"""Exit statuses of a daemon and its workers. 1 and 2 are Django's, for wrong usage."""

OK = 0
"""Drained, or idle with ``--until-idle``."""
FAILED = 1
"""Of a helper process: it has failed, and logged why."""
BOOT_FAILED = 3
"""No worker became ready (gunicorn uses the same number), or new code could not take over."""
KILLED = 4
"""Running units of work were killed: after ``graceful_timeout``, or because an operator asked for
an immediate stop."""
CRASH_LOOP = 5
"""Workers died again and again."""
CRASHED = 70
"""An error inside this package (``EX_SOFTWARE`` of sysexits.h)."""

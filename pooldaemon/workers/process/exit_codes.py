"""Exit statuses of a daemon and its workers. 1 and 2 are Django's, for wrong usage."""

OK = 0
"""Drained, or idle with ``--until-idle``."""
FAILED = 1
"""Of a helper process: it could not do what it was for, and has logged why."""
BOOT_FAILED = 3
"""No worker could get ready (gunicorn uses the same number)."""
KILLED = 4
"""Units of work were cut off: the graceful timeout had passed, or an operator was in a hurry."""
CRASH_LOOP = 5
"""A worker died again and again, without a good minute in between."""
CRASHED = 70
"""An error inside this package (``EX_SOFTWARE`` of sysexits.h)."""

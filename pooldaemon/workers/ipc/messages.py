"""The messages between a supervisor and its workers: their kinds, and the shapes of their values.

Messages of other kinds are ignored: another version of this package may send more.
"""

from __future__ import annotations

from collections.abc import Mapping

from pooldaemon.conf import Number
from pooldaemon.stats import BOUNDS
from pooldaemon.workers.ipc.parts import MAX_PARTS
from pooldaemon.workers.process.shapes import (
    CAP,
    COUNT,
    FINITE,
    SESSION,
    TIME,
    WHOLE,
    Each,
    Either,
    IfGiven,
    Shape,
)

_SESSION = dict(zip(("alias", "number", "port"), SESSION, strict=True))

_NAMES = [(str, str)]

SUSPECTS: Mapping[str, Shape] = {
    "names": _NAMES,
    "written": _NAMES,
    "schemas": [str],
    "written_schemas": [str],
    "functions": _NAMES,
}
"""See :class:`pooldaemon.pool.drivers.mysql.sql.suspects.Suspects`."""

REPORT: Mapping[str, Shape] = {
    "idle": IfGiven(bool),
    "units": IfGiven(COUNT),
    "failures": IfGiven(COUNT),
    "busy": IfGiven(COUNT),
    "longest": IfGiven(Either(None, (str, TIME))),
    "connections": IfGiven(COUNT),
    "rss": IfGiven(COUNT),
}
"""See :class:`pooldaemon.workers.ipc.report.Report`."""

COMMAND: Mapping[str, Shape] = {
    "verb": str,
    "pool": Either(None, str),
    "size": Either(None, CAP),
}
"""See :class:`pooldaemon.pool_commands.PoolCommand`."""

_TIMES = {"counts": (COUNT,) * (len(BOUNDS) + 1), "total": FINITE}

POOL: Mapping[str, Shape] = {
    "name": str,
    "alias": str,
    "poolclass": str,
    "cap": Either(None, COUNT),
    **dict.fromkeys(("total", "peak", "connects", "in_use", "idle", "waiting"), WHOLE),
    **dict.fromkeys(("timeouts", "rejected", "connect_errors", "resets"), COUNT),
    "min_idle": IfGiven(COUNT),
    "paused": bool,
    "discards": Each(COUNT),
    **dict.fromkeys(("wait", "use", "connect"), _TIMES),
    "holders": [{"thread": str, "seconds": TIME, "place": str}],
}
"""See :func:`pooldaemon.workers.worker.reporter.describe`."""

FROM_WORKERS: Mapping[str, Shape] = {
    "boot_failed": {"error": str},
    "ready": {},
    "heartbeat": REPORT,
    "session": _SESSION,
    "session_over": _SESSION,
    "suspects": {"account": WHOLE, "suspects": SUSPECTS, "asked": TIME},
    "suspects_part": {
        "account": WHOLE,
        "asked": TIME,
        "part": COUNT,
        "parts": Number(1, MAX_PARTS, whole=True),
        "suspects": SUSPECTS,
    },
    "leaving": {"reason": str},
    "exiting": {"seconds": TIME},
    "progress": {"thread": str, "done": Either(None, FINITE), "total": Either(None, FINITE)},
    "overdue": {"thread": str, "seconds": TIME, "sessions": [SESSION]},
    "pool": {"round": COUNT, "pool": POOL},
    "units": {"round": COUNT, "units": [(str, TIME)]},
    "report_end": {"round": COUNT},
    "command_done": {"number": COUNT, "done": [str], "refused": Either(None, str)},
}

TO_WORKERS: Mapping[str, Shape] = {"command": {"number": COUNT, **COMMAND}}

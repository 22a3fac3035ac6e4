"""What one supervisor hands over to the next one, which is executed in its place: a file of JSON,
and descriptors that it inherits."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NoReturn

from pooldaemon.conf import DAEMON_RULES
from pooldaemon.workers.ipc.channel import refuse_constant
from pooldaemon.workers.ipc.messages import COMMAND, REPORT
from pooldaemon.workers.process.invocation import Invocation
from pooldaemon.workers.process.shapes import (
    CAP,
    COUNT,
    DESCRIPTOR,
    PID,
    SESSION,
    TIME,
    Each,
    Either,
    IfGiven,
    Shape,
    is_worker,
    misfit,
    shown,
)
from pooldaemon.workers.supervisor.handle import WorkerState
from pooldaemon.workers.supervisor.preflight import scratch_file
from pooldaemon.workers.supervisor.reexec import HANDOVER
from pooldaemon.workers.supervisor.spawner import flush_streams


class HandoverError(Exception):
    """What was handed over is none, or not of a version that is understood here."""


@dataclass(frozen=True)
class Handover:
    """What the next supervisor gets.

    :ivar state: as JSON takes it. :ivar descriptors: that it inherits.
    :ivar invocation: what is executed.
    """

    state: Mapping[str, Any]
    descriptors: Sequence[int]
    invocation: Invocation

    def execute(self) -> NoReturn:
        """Execute the command again in this process.

        :raises OSError: that is not possible; nothing has changed.
        """
        with scratch_file() as file, ExitStack() as on_failure:
            descriptors = list(self.descriptors)
            state = {**self.state, "descriptors": descriptors, "pid": os.getpid()}
            file.write(json.dumps(state).encode())
            file.seek(0)
            inherited = [*self.descriptors, file.fileno()]
            here = os.open(".", os.O_RDONLY)
            on_failure.callback(os.close, here)
            # Until it has handlers of its own, a signal would end it.
            previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            on_failure.callback(signal.pthread_sigmask, signal.SIG_SETMASK, previous)
            for descriptor in inherited:
                on_failure.callback(os.set_inheritable, descriptor, False)
                os.set_inheritable(descriptor, True)
            flush_streams()
            on_failure.callback(os.fchdir, here)
            given = self.invocation
            os.chdir(given.directory)
            variables = {**given.variables, HANDOVER: str(file.fileno())}
            os.execve(given.executable, given.command_line, variables)  # noqa: S606


def take_over() -> dict[str, Any] | None:
    """In the process that was executed: what was handed over; ``None`` if it was started anew.

    :raises HandoverError: it can't be used.
    """
    if (number := os.environ.pop(HANDOVER, None)) is None:
        return None
    try:
        descriptor = int(number.encode("ascii"))
        if not DESCRIPTOR.accepts(descriptor) or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(number)
        # Left open: should this fail, the next attempt reads it again.
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            state = json.load(file, parse_constant=refuse_constant)
        os.set_inheritable(descriptor, False)
    except (OSError, ValueError, RecursionError):
        raise HandoverError(
            f"{HANDOVER} is {shown(number)}, and nothing is handed over there; a reload sets it "
            "for the process that it executes, and nobody else should"
        ) from None
    return check(state)


def takes_over() -> bool:
    """Whether this process was executed by a supervisor that reloads and has not taken over yet."""
    return HANDOVER in os.environ


def check(state: Any) -> dict[str, Any]:
    """*state*, whose descriptors no other program inherits from now on.

    :raises HandoverError: it is not what a :class:`Handover` contains.
    """
    wrong = misfit(STATE, state, "it")
    if not wrong and state["pidfile"] and None in (state["lock"], state["control"]):
        wrong = "it has a pidfile, and no lock or no control socket"
    if wrong:
        raise HandoverError(f"what the last supervisor has handed over can't be used: {wrong}")
    given = set(state["descriptors"])
    lacking = {number for number in _named(state) if number is not None} - given
    try:
        for descriptor in given:
            os.set_inheritable(descriptor, False)
    except OSError as error:
        lacking = {descriptor}
        reason = error.strerror
    else:
        reason = "it was not handed over"
    if lacking:
        raise HandoverError(f"descriptor {min(lacking)} of the last supervisor: {reason}")
    checked: dict[str, Any] = state
    return checked


def _named(state: Mapping[str, Any]) -> list[int | None]:
    """The inherited descriptors to which the rest of the state refers."""
    return [
        *state["spawner"]["parent_death_pipe"],
        *(state.get(name) for name in ("lock", "control", "metrics", "shell")),
        *(worker["descriptor"] for worker in state["workers"]),
        *(worker.get("commands") for worker in state["workers"]),
    ]


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_state(value: Any) -> bool:
    return isinstance(value, str) and value in {state.value for state in WorkerState}


_MAYBE_TEXT = Either(None, str)
_MAYBE_DESCRIPTOR = Either(None, DESCRIPTOR)

WORKER: Mapping[str, Shape] = {
    "name": is_worker,
    "pid": PID,
    "descriptor": DESCRIPTOR,
    "commands": IfGiven(_MAYBE_DESCRIPTOR),
    "started": TIME,
    "caps": Each(Either(None, CAP)),
    "state": _is_state,
    "was_ready": bool,
    "retired": bool,
    "killed_for": _MAYBE_TEXT,
    "kill_at": Either(None, TIME),
    "sessions": [SESSION],
    "report": REPORT,
}
"""See :meth:`pooldaemon.workers.supervisor.handle.WorkerHandle.hand_over`."""

STATE: Mapping[str, Shape] = {
    "descriptors": [DESCRIPTOR],
    "started": TIME,
    "lost": IfGiven(TIME),
    "announced": IfGiven(bool),
    "last_death": _MAYBE_TEXT,
    "reload": COUNT,
    "signals": IfGiven([COUNT]),
    "history": [str],
    "spawner": {
        "parent_death_pipe": (DESCRIPTOR, DESCRIPTOR),
        "helpers": [PID],
        "metrics_server": IfGiven(Either(None, {"pid": Either(None, PID), "deaths": COUNT})),
    },
    "worker_set": IfGiven(
        {
            **dict.fromkeys(("units", "failures", "restarts"), IfGiven(COUNT)),
            "starts": IfGiven(Each(COUNT)),
            **dict.fromkeys(("size", "configured"), IfGiven(DAEMON_RULES["processes"].accepts)),
        }
    ),
    "commands": IfGiven({"number": IfGiven(COUNT), "standing": IfGiven([COMMAND])}),
    "workers": [WORKER],
    "pidfile": Either(None, _is_path),
    "lock": _MAYBE_DESCRIPTOR,
    "control": _MAYBE_DESCRIPTOR,
    "metrics": IfGiven(_MAYBE_DESCRIPTOR),
    "shell": IfGiven(_MAYBE_DESCRIPTOR),
    "output": Either(None, _is_path),
    "directory": _is_path,
    "pid": IfGiven(PID),
    "drain_timeout": IfGiven(TIME),
}
"""What older versions do not hand over may be missing."""

"""Something happens at the n-th line, or instruction, of the pool that a thread runs."""

import contextlib
import dis
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy.pool.base

import pooldaemon.connections
import pooldaemon.pool
from tests.unit.fakes import DEADLINE, Task

PLACES = (
    f"{Path(pooldaemon.pool.__file__).parent}/",
    pooldaemon.connections.__file__,
    sqlalchemy.pool.base.__file__,
    contextlib.__file__,
)

SWALLOWED = {"__del__", "_wake_first_waiter"}

KIND = "opcode" if os.environ.get("INTERRUPT_OPCODES") else "line"


class Interruption:
    """Counts the lines that its thread runs; at one of them it calls *happen*."""

    def __init__(self, number: int, happen: Callable[[], object]) -> None:
        self._left = number
        self._happen = happen
        self.place: str | None = None

    def __enter__(self) -> "Interruption":
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)

    def _enter_frame(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PLACES) or _is_swallowed(frame):
            return None
        frame.f_trace_opcodes = KIND == "opcode"
        return self._look

    def _look(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == KIND and not (KIND == "opcode" and _is_never_left(frame)):
            self._left -= 1
            if self._left < 0:
                sys.settrace(None)
                code = frame.f_code
                name = Path(code.co_filename).name
                self.place = f"{name}:{frame.f_lineno} in {code.co_name}, {frame.f_lasti}"
                self._happen()
        return self._look


RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}


def _is_never_left(frame: FrameType) -> bool:
    """Whether the interpreter never raises there what a signal's handler, or a thread, wants."""
    return frame.f_lineno is None or frame.f_code.co_code[frame.f_lasti] in RETURNS


def _is_swallowed(frame: FrameType | None) -> bool:
    """Whether the interpreter would only print what is raised there."""
    while frame is not None:
        if frame.f_code.co_name in SWALLOWED:
            return True
        frame = frame.f_back
    return False


def interrupt() -> None:
    raise KeyboardInterrupt


class Actor:
    """A thread that does something with an interruption, and lives on until it is told to end."""

    def __init__(
        self, act: Callable[[], object], number: int, happen: Callable[[], object]
    ) -> None:
        self.kept: BaseException | None = None
        """What was raised, with its frames."""
        self.interruption = Interruption(number, happen)
        self._act = act
        self._has_acted, self._end = threading.Event(), threading.Event()
        self._task = Task(self._run)

    def _run(self) -> None:
        try:
            with self.interruption:
                self._act()
        except BaseException as error:  # noqa: BLE001 - it is looked at
            self.kept = error
        self._has_acted.set()
        self._end.wait(DEADLINE * 2)

    def wait(self) -> None:
        place = self.interruption
        assert self._has_acted.wait(DEADLINE), f"it hangs after {place.place}"

    def end(self) -> None:
        self._end.set()
        self._task.result()

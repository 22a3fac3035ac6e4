"""Commands to connection pools, with PgBouncer's verbs, as plain frozen data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

LASTING_STATE = {"pause": "lending", "resume": "lending", "reconnect": None, "resize": "size"}
"""The valid verbs. Each with the state that it sets for good; ``None``: it acts only once."""


@dataclass(frozen=True)
class PoolCommand:
    """A command to one pool, or to all.

    :ivar verb: ``"pause"``: lend no connection, close idle connections now and the others when they
        are returned; ``"resume"``: lend again; ``"reconnect"``: close connections as ``"pause"``
        does, but keep lending, on new ones; ``"resize"``: change the cap.
    :ivar pool: a pool's name or a database's alias; ``None``, the default: all pools.
    :ivar size: for ``"resize"``: the new cap in connections, 1 or more.
    """

    verb: str
    pool: str | None = None
    size: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From the result of ``asdict()``. Unknown keys are ignored: they are of a later
        version."""
        return cls(values["verb"], values.get("pool"), values.get("size"))

    def is_for(self, name: str, aliases: Collection[str]) -> bool:
        """Whether the command concerns the pool *name*, which serves the databases *aliases*."""
        return self.pool is None or self.pool == name or self.pool in aliases


class StandingCommands:
    """The commands that pools opened later have to carry out, too, in the order they were sent.

    A command replaces earlier ones that set the same state of the same pools. Not thread-safe.
    """

    def __init__(self, commands: Iterable[PoolCommand] = ()) -> None:
        self._commands = [one for one in commands if one.verb in LASTING_STATE]

    def __iter__(self) -> Iterator[PoolCommand]:
        return iter(self._commands)

    def add(self, command: PoolCommand) -> None:
        state = LASTING_STATE[command.verb]
        if state is None:
            return
        self._commands = [
            earlier
            for earlier in self._commands
            if LASTING_STATE[earlier.verb] != state or command.pool not in (None, earlier.pool)
        ]
        # Pools start unpaused: without a standing pause, a resume has no effect.
        if command.verb != "resume" or any(one.verb == "pause" for one in self._commands):
            self._commands.append(command)

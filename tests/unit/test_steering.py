"""What the verbs of the console say when some workers do not carry out a command."""

from io import StringIO
from typing import Any

import pytest
from django.core.management.base import CommandError, OutputWrapper

from pooldaemon.console import daemons, pause, steering

OPTIONS = {"daemon": None, "directory": None, "pool": None, "wait": 30.0}


def worker(name: str, pid: int, number: int | None, **command: Any) -> dict[str, Any]:
    """As in the status; `number` is that of its last command."""
    last_command = (
        None if number is None else {"number": number, "done": [], "refused": None, **command}
    )
    return {"name": name, "pid": pid, "last_command": last_command, "pools": []}


class Canned:
    """A daemon that answers `pause` at once, and `status` with one canned list after the other."""

    name = "shop"

    def __init__(self, *statuses: list[dict[str, Any]], **changes: Any) -> None:
        self._told = {
            "number": 2,
            "workers": {"worker-1": 11, "worker-2": 12},
            "unsupported": [],
        } | changes
        self._statuses = [*statuses]

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        if command != "status":
            return self._told
        last = len(self._statuses) == 1
        return {"workers": self._statuses[0] if last else self._statuses.pop(0)}


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Send the command to a canned daemon; returns what is said."""

    def run(daemon: Canned, patience: float = 5.0) -> str:
        monkeypatch.setattr(daemons, "choose", lambda name, directory: daemon)
        monkeypatch.setattr(steering, "PATIENCE", patience)
        monkeypatch.setattr(steering, "POLL", 0.0)
        out = StringIO()
        pause.run(OPTIONS, OutputWrapper(out))
        return out.getvalue()

    return run


def test_each_worker_is_waited_for_until_it_has_carried_out_this_command(give: Any) -> None:
    said = give(
        Canned(
            [worker("worker-1", 11, 1, done=["old"]), worker("worker-2", 12, None)],
            [worker("worker-1", 11, 2, done=["one"]), worker("worker-2", 12, None)],
            [worker("worker-1", 11, 2, done=["one"]), worker("worker-2", 12, 2)],
        )
    )
    assert said.splitlines() == [
        "worker-1: paused one",
        "worker-2: no such pool is open; the command will apply when it is opened",
        "shop: all connections are closed",
    ]


def test_a_worker_that_has_been_replaced_is_not_waited_for(give: Any) -> None:
    said = give(Canned([worker("worker-1", 99, 0), worker("worker-2", 12, 2, done=["one"])]))
    assert said.splitlines() == ["worker-2: paused one", "shop: all connections are closed"]


@pytest.mark.parametrize(
    ("canned", "lacking"),
    [
        (
            Canned([worker("worker-1", 11, 2, refused="x: a NullPool can't be paused")], workers={
                "worker-1": 11
            }),
            "worker-1: x: a NullPool can't be paused",
        ),
        (
            Canned([], workers={}, unsupported=["worker-1"]),
            "worker-1 runs an older version of pooldaemon without these commands",
        ),
        (
            Canned([worker("worker-1", 11, 1)], workers={"worker-1": 11}),
            "worker-1 has not reported a result within 0 s",
        ),
    ],
    ids=["refused", "unsupported", "silent"],
)  # fmt: skip
def test_what_was_not_done_by_all_is_a_failure_that_says_why(
    canned: Canned, lacking: str, give: Any
) -> None:
    with pytest.raises(CommandError) as failure:
        give(canned, patience=0.0)
    assert str(failure.value) == f"shop: {lacking}"


def test_a_daemon_that_goes_away_is_reported(give: Any) -> None:
    gone = daemons.Daemon("shop", daemons.Path("/nonexistent/shop.pid.sock"), 1)
    with pytest.raises(
        CommandError, match=r"shop: no answer on /nonexistent/shop\.pid\.sock: No such"
    ):
        give(gone)

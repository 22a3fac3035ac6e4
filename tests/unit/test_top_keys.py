"""The keys of top: what they choose, and which commands they send to a daemon."""

import os
import signal
from typing import Any

import pytest

from pooldaemon.console.terminal.controls import Controls
from pooldaemon.console.terminal.keys import parse
from pooldaemon.console.view import DaemonView, Health
from tests.unit.statuses import Answer, Canned, Status, daemon, worker


class Shop:
    """A daemon with two workers, that notes its commands and refuses those that it is to refuse."""

    def __init__(self, **refused: str) -> None:
        self.heard: list[Status] = []
        self.refused = refused
        self.workers = 2

    def __call__(self, command: str, **values: Any) -> Status:
        if command == "status":
            return daemon(*(worker(n + 1) for n in range(self.workers)), pid=os.getpid())
        if command in self.refused:
            return {"error": self.refused[command]}
        self.heard.append({"command": command, **values})
        if command == "scale":
            before, self.workers = self.workers, values["processes"]
            return {"before": before, "processes": self.workers}
        return {"number": 1, "workers": {"worker-1": 101, "worker-2": 102}, "unsupported": []}


def view(name: str = "shop", health: Health = Health.ANSWERS) -> DaemonView:
    return DaemonView(name, health, status=daemon(worker(1)))


def press(shop: Answer, *keys: str) -> str:
    """Returns what is said after the last key."""
    controls = Controls()
    for key in keys:
        controls.press(key, [view()], {"shop": Canned("shop", shop)})
    return controls.message


def test_each_plus_adds_a_worker_to_those_there_are_by_then() -> None:
    shop = Shop()
    assert press(shop, "+", "+") == "shop: workers: 4 (before: 3)"
    assert press(shop, "-") == "shop: workers: 3 (before: 4)"


def test_the_last_worker_stays() -> None:
    shop = Shop()
    assert press(shop, "-", "-") == "shop: a daemon needs at least 1 worker"
    assert shop.workers == 1


@pytest.mark.parametrize(("key", "command"), [("r", "reload"), ("p", "pause")])
def test_what_stops_work_is_asked_before(key: str, command: str) -> None:
    shop = Shop()
    assert press(shop, key).endswith("shop? y: yes, any other key: no")
    assert press(shop, key, "n") == ""
    assert press(shop, key, "q") == ""
    assert shop.heard == []
    assert press(shop, key, "y").startswith("shop: ")
    assert shop.heard == [{"command": command}]


def test_a_key_that_answers_a_question_starts_no_action() -> None:
    shop = Shop()
    press(shop, "p", "+")
    assert shop.heard == []


def test_resume_is_not_asked_twice() -> None:
    assert press(Shop(), "P") == "shop: resume: sent to 2 workers"


def test_workers_that_can_not_get_the_command_are_named() -> None:
    answer = {"number": 1, "workers": {}, "unsupported": ["worker-2"]}
    said = press(lambda command, **values: answer, "P")
    assert said == "shop: resume: sent to 0 workers; not to worker-2 (older version of pooldaemon)"


def test_the_stacks_are_asked_for_by_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    said = press(Shop(), "s")
    assert sent == [(os.getpid(), signal.SIGUSR2)]
    assert said == "shop: the workers log their stacks to /var/log/shop.log"


def test_a_refusal_is_shown_with_its_reason() -> None:
    shop = Shop(scale="its connections are enough for 2 workers")
    assert press(shop, "+") == "shop: its connections are enough for 2 workers"


def test_a_daemon_that_goes_meanwhile_is_said() -> None:
    def gone(command: str, **values: Any) -> Status:
        raise ConnectionRefusedError(111, "Connection refused")

    assert press(gone, "+") == "shop: no answer on /run/shop.pid.sock: Connection refused"


@pytest.mark.parametrize(
    ("health", "said"),
    [(Health.ENDED, "shop has ended"), (Health.SILENT, "shop does not answer")],
)
def test_a_daemon_that_does_not_answer_is_not_asked(health: Health, said: str) -> None:
    controls = Controls("shop")
    controls.press("+", [view(health=health)], {})
    assert controls.message == said


def test_without_a_daemon_there_is_nobody_to_tell() -> None:
    controls = Controls()
    controls.press("+", [], {})
    assert controls.message == "there is no daemon"


def test_the_first_daemon_that_lives_is_chosen_and_keys_move_on() -> None:
    views = [view("a", Health.ENDED), view("b"), view("c")]
    controls = Controls()
    chosen = []
    for key in ("", "down", "j", "up", "k", "up"):
        controls.press(key, views, {})
        found = controls.look(views)
        chosen.append(found and found.name)
    assert chosen == ["b", "c", "c", "b", "a", "a"]


@pytest.mark.parametrize("key", ["q", "\x04"])
def test_q_and_the_end_of_input_quit(key: str) -> None:
    controls = Controls()
    controls.press(key, [], {})
    assert controls.ended


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]),
        ("++\x1b[A\x1bOB", ["+", "+", "up", "down"]),
        ("\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page up", "page down", "home", "end"]),
        ("\x1b[1;5Cx\x1b[15~", ["x"]),
        ("\x1b", []),
        ("ü\n", ["ü", "\n"]),
    ],
)
def test_what_a_terminal_sends_is_read_as_keys(sent: str, keys: list[str]) -> None:
    assert parse(sent) == keys

"""Whatever a daemon is sent or left, by whatever way: no exception reaches a loop, no value goes
beyond its limits, no descriptor is lost. See :mod:`tests.unit.nonsense`."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pooldaemon.conf import MAX_CONNECTIONS, DaemonConfig
from pooldaemon.metrics.daemon import daemon_metrics
from pooldaemon.pool_commands import LASTING_STATE, PoolCommand
from pooldaemon.sessions import Session
from pooldaemon.workers.ipc.channel import Links, Receiver, Sender
from pooldaemon.workers.ipc.control import MAX_REQUEST, ControlSocket
from pooldaemon.workers.ipc.messages import FROM_WORKERS, TO_WORKERS
from pooldaemon.workers.process import invocation
from pooldaemon.workers.process.invocation import Invocation
from pooldaemon.workers.process.pidfile import PidFile, lock_holder
from pooldaemon.workers.supervisor import handover
from pooldaemon.workers.supervisor.handle import WorkerHandle
from pooldaemon.workers.supervisor.handover import HandoverError
from pooldaemon.workers.supervisor.phase import Phase
from pooldaemon.workers.supervisor.reload import Reload
from pooldaemon.workers.supervisor.services import Services
from pooldaemon.workers.supervisor.session_file import SessionFile
from pooldaemon.workers.supervisor.supervisor import Supervisor
from pooldaemon.workers.worker import commands
from pooldaemon.workers.worker.commands import CommandListener
from pooldaemon.workers.worker.reporter import describe
from tests.unit.nonsense import REQUESTS, WAYS, Nonsense, requests, send
from tests.unit.test_worker_reporter import POOL

CONFIG = DaemonConfig(processes=2)


@pytest.fixture
def nonsense() -> Nonsense:
    return Nonsense()


@pytest.fixture(autouse=True)
def no_process_is_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of processes are made up here."""

    def nobody(*args: object) -> None:
        raise ChildProcessError

    monkeypatch.setattr(os, "waitpid", nobody)
    monkeypatch.setattr(os, "kill", nobody)
    monkeypatch.setattr(Reload, "begin", lambda *args: None)


@pytest.fixture(autouse=True)
def no_descriptor_is_lost() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - without a descriptor of its own left
    yield
    assert len(os.listdir("/proc/self/fd")) <= len(before)  # noqa: PTH208


class Daemon:
    """A supervisor that is only asked; its workers are pipes."""

    def __init__(self, stack: ExitStack) -> None:
        services = Services(
            run_worker=lambda *args: 0,
            hand_over=lambda handover: None,
            invocation=Invocation("/", "python", (), {}),
        )
        self.supervisor = stack.enter_context(Supervisor(CONFIG, services, clock=None))
        self.supervisor._phase = Phase.RUNNING
        self.worker_set = self.supervisor._worker_set
        self.workers: dict[str, int] = {}
        for number, name in enumerate(self.worker_set.slots, start=1):
            reading, writing = os.pipe()
            read_end, commands_end = os.pipe()
            for end in (writing, read_end):
                stack.callback(os.close, end)
            receiver = Receiver(reading, FROM_WORKERS, name)
            handle = WorkerHandle(name, number, receiver, 0.0, {}, Sender(commands_end))
            stack.callback(handle.close_descriptors)
            self.worker_set.workers[name] = handle
            self.workers[name] = writing
        stack.callback(self.worker_set.workers.clear)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        response = self.supervisor._answer(request, time.monotonic())
        if request.get("command") == "stop" and "seconds" in response:
            self.supervisor._phase = Phase.RUNNING
            self.supervisor._kill_at = float("inf")
        return response

    def check(self) -> None:
        """It can be asked, and all is within limits."""
        status = json.loads(
            json.dumps(self.supervisor._describe(time.monotonic()), allow_nan=False)
        )
        daemon_metrics("work", status)
        json.dumps(self.supervisor._describe_for_successor([]).state, allow_nan=False)
        assert 1 <= self.worker_set.size <= 1000
        for command in self.supervisor._command_relay.standing():
            assert command.verb in LASTING_STATE
            assert command.size is None or 1 <= command.size <= MAX_CONNECTIONS
        assert 0.0 <= self.supervisor._pause(time.monotonic()) <= 1.0


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with ExitStack() as stack:
        yield Daemon(stack)


class Client:
    """Sends a request in one of many ways, and looks for an answer."""

    def __init__(self, control: ControlSocket, daemon: Daemon, nonsense: Nonsense) -> None:
        self._control = control
        self._daemon = daemon
        self._random = nonsense.random
        self._now = 0.0

    def send(self, data: bytes) -> None:
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.setblocking(False)
            client.connect(str(self._control.path))
            way = self._random.randrange(WAYS)
            with suppress(OSError):  # it is let go as soon as it can be
                send(client, data, way, self._serve)
            self._serve()
            if way == 4:
                return  # gone before it has read
            with suppress(BlockingIOError, ConnectionResetError):
                if answer := client.recv(2**20):
                    response = json.loads(answer)
                    assert isinstance(response, dict)
            if way == 5:  # it is forgotten about
                self._now += 6
                self._serve()

    def _serve(self) -> None:
        self._control.serve(self._daemon.answer, self._now)


def test_on_the_control_socket(nonsense: Nonsense, daemon: Daemon, tmp_path: Path) -> None:
    control = ControlSocket(tmp_path / "sock")
    control.open()
    client = Client(control, daemon, nonsense)

    def attack(nonsense: Nonsense) -> None:
        client.send(b"".join(requests(nonsense)))
        daemon.check()

    try:
        nonsense.go_on(attack)
        control.serve(daemon.answer, 1e9)
        assert control.clients == 0
    finally:
        control.release()


def test_requests_of_scalars_are_answered_whatever_they_say(
    nonsense: Nonsense, daemon: Daemon
) -> None:
    """The same without a socket: hundreds of times as many."""

    def attack(nonsense: Nonsense) -> None:
        request = nonsense.last = nonsense.changed(nonsense.random.choice(REQUESTS))
        flat = isinstance(request, dict) and not any(
            isinstance(value, (dict, list)) for value in request.values()
        )
        if flat and len(json.dumps(request)) < MAX_REQUEST:
            assert isinstance(daemon.answer(request), dict)
            daemon.check()

    nonsense.go_on(attack)


MESSAGES: list[dict[str, Any]] = [
    {"kind": "boot_failed", "error": "no licence"},
    {"kind": "ready"},
    {
        "kind": "heartbeat", "idle": False, "units": 5, "failures": 1, "busy": 1,
        "longest": ["worker-1/thread-1", 2.5], "connections": 3, "rss": 2**25,
    },
    {"kind": "session", "alias": "default", "number": 5, "port": 40000},
    {"kind": "session_over", "alias": "default", "number": 5, "port": 40000},
    {
        "kind": "suspects", "account": -(2**61), "asked": 5.0,
        "suspects": {
            "names": [["", "v"]], "written": [["shop", "t"]], "schemas": ["s"],
            "written_schemas": [""], "functions": [["", "f"]],
        },
    },
    {
        "kind": "suspects_part", "account": 7, "asked": 5.0, "part": 0, "parts": 1,
        "suspects": {
            "names": [["", "v"]], "written": [], "schemas": [], "written_schemas": [],
            "functions": [["shop", "f"]],
        },
    },
    {"kind": "leaving", "reason": "it is old"},
    {"kind": "exiting", "seconds": 30.0},
    {"kind": "progress", "thread": "worker-1/thread-1", "done": 5, "total": 10.5},
    {"kind": "progress", "thread": "worker-1/thread-1", "done": None, "total": None},
    {"kind": "overdue", "thread": "worker-1/thread-1", "seconds": 5.0, "sessions": [["a", 5, 0]]},
    {"kind": "pool", "round": 1, "pool": json.loads(json.dumps(describe(POOL)))},
    {"kind": "units", "round": 1, "units": [["worker-1/thread-1", 2.5]]},
    {"kind": "report_end", "round": 1},
    {"kind": "command_done", "number": 1, "done": ["mysql app@host/shop"], "refused": None},
]  # fmt: skip


def test_of_workers_on_their_pipes(
    nonsense: Nonsense, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[int, Any] = {}
    monkeypatch.setattr("pooldaemon.pool.drivers.mysql.sql.side_effects.heard", heard)
    name, pipe = next(iter(daemon.workers.items()))

    def attack(nonsense: Nonsense) -> None:
        messages = [nonsense.random.choice(MESSAGES) for _ in range(5)]
        lines = [nonsense.text(nonsense.changed(one)) for one in messages]
        lines.append(json.dumps(nonsense.random.choice(MESSAGES)).encode())  # one that is good
        daemon_side = daemon.worker_set.workers[name]
        for line in lines:
            os.write(pipe, line[:60_000] + b"\n")
            daemon_side.read_messages(1.0)
        daemon.supervisor._reaper.judge(daemon_side, 1.0)
        daemon.check()
        heard.clear()

    # A worker that is late, or overdue, is killed: nothing of it is real.
    monkeypatch.setattr(daemon.supervisor._spawner, "fork_helper", lambda work: None)
    nonsense.go_on(attack)


def test_all_good_messages_are_understood() -> None:
    """Or what is made of them here would be no test."""
    reading, writing = os.pipe()
    receiver = Receiver(reading, FROM_WORKERS)
    for message in MESSAGES:
        Sender(writing).send(**message)
    assert receiver.receive() == MESSAGES
    assert {message["kind"] for message in MESSAGES} == FROM_WORKERS.keys()
    for end in (reading, writing):
        os.close(end)


def test_of_the_supervisor_to_a_worker(nonsense: Nonsense, monkeypatch: pytest.MonkeyPatch) -> None:
    carried_out: list[PoolCommand] = []

    def carry_out(command: PoolCommand) -> list[tuple[str, str | None]]:
        carried_out.append(command)
        return [("a pool", None)]

    monkeypatch.setattr(commands, "control_pools", carry_out)
    with ExitStack() as stack:
        ends = [*os.pipe(), *os.pipe()]
        for end in ends:
            stack.callback(os.close, end)
        answers = Receiver(ends[2])
        links = Links(Sender(ends[3]), Receiver(ends[0], TO_WORKERS), -1)
        worker = CommandListener(links, lambda: None)

        def attack(nonsense: Nonsense) -> None:
            command = {"kind": "command", "number": 1, "verb": "resize", "pool": None, "size": 4}
            os.write(ends[1], nonsense.text(nonsense.changed(command))[:60_000] + b"\n")
            worker.catch_up()
            answers.receive()
            for one in carried_out:
                assert one.verb in LASTING_STATE
                assert one.size is None or 1 <= one.size <= MAX_CONNECTIONS
            carried_out.clear()

        nonsense.go_on(attack)


def handed_over(daemon: Daemon) -> dict[str, Any]:
    """What a real supervisor and its launcher hand over, and the descriptors."""
    for worker in daemon.worker_set.workers.values():
        worker.sessions.add(Session("default", 5, 40000))
    handed = daemon.supervisor._describe_for_successor([])
    names = ("pidfile", "lock", "control", "metrics", "shell", "output")
    state: dict[str, Any] = {
        **handed.state, **dict.fromkeys(names), "directory": "/", "history": ["worker-1: 5 units"],
        "commands": {"number": 1, "standing": [{"verb": "pause", "pool": None, "size": None}]},
        "last_death": "worker-1 was ended by SIGKILL", "signals": [1, 15],
        "descriptors": list(handed.descriptors),
    }  # fmt: skip
    found: dict[str, Any] = json.loads(json.dumps(state))
    return found


def test_in_what_a_reload_hands_over(
    nonsense: Nonsense, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = handed_over(daemon)
    monkeypatch.setattr(Supervisor, "__exit__", lambda *args: None)
    understood = 0

    def attack(nonsense: Nonsense) -> None:
        nonlocal understood
        changed = state if nonsense.random.random() < 0.1 else nonsense.changed(state, 2)
        file = os.memfd_create("handed over")
        os.write(
            file,
            nonsense.text(changed)
            if nonsense.random.random() < 0.3
            else json.dumps(changed).encode(),
        )
        os.lseek(file, 0, os.SEEK_SET)
        monkeypatch.setenv(handover.HANDOVER, str(file))
        nonsense.last = changed
        try:
            taken = handover.take_over()
        except HandoverError:
            return
        finally:
            os.close(file)
        assert taken is not None
        understood += 1
        with ExitStack() as stack:
            adopt(taken, stack)

    nonsense.go_on(attack)
    assert understood


def adopt(state: dict[str, Any], stack: ExitStack) -> None:
    """Go on as the next supervisor does, with descriptors of its own."""

    def own(*_: object) -> int:
        ends = os.pipe()
        stack.callback(os.close, ends[0])
        os.close(ends[1])
        return ends[0]

    for worker in state["workers"]:
        worker["descriptor"] = own()
        if worker.get("commands") is not None:
            worker["commands"] = own()
    services = Services(run_worker=lambda *args: 0, invocation=Invocation("/", "python", (), {}))
    supervisor = Supervisor(CONFIG, services, state)
    with supervisor:
        now = time.monotonic()
        json.dumps(supervisor._describe(now), allow_nan=False)
        supervisor._describe_for_successor([])
        assert 1 <= supervisor._worker_set.size <= 1000
        supervisor._pause(now)
        supervisor._listen(now)
    supervisor._signals.close()


@pytest.mark.parametrize("number", ["", "x", "-1", "9" * 5000, "9" * 30, "4096", "0x3", "\u0663"])
def test_a_variable_that_no_reload_has_set_is_named(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    monkeypatch.setenv(handover.HANDOVER, number)
    with pytest.raises(HandoverError, match=r"POOLDAEMON_HANDOVER is .* nobody else should"):
        handover.take_over()


def test_in_the_list_of_sessions(nonsense: Nonsense, tmp_path: Path) -> None:
    path = tmp_path / "sessions"
    good = [["default", 5, 40000], ["replica", 6, 0]]

    def attack(nonsense: Nonsense) -> None:
        path.write_bytes(nonsense.text(nonsense.changed(good)))
        sessions, written = SessionFile(path).left_over()
        for session in sessions:
            assert [type(value) for value in session] == [str, int, int]
            assert 0 <= session.number < 2**63
            assert 0 <= session.port < 2**16
        assert not sessions or written

    nonsense.go_on(attack)


def test_in_the_pidfile(nonsense: Nonsense, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    lock = PidFile(path)
    lock.acquire()

    def attack(nonsense: Nonsense) -> None:
        text = str(nonsense.value()).encode(errors="replace")[:5000]
        if nonsense.random.random() < 0.5:
            text = nonsense.random.choice([b"-1", b"0", b"1", b" 7 \n", b"1_0", b"\xff", b"9" * 40])
        nonsense.last = text
        path.write_bytes(text)
        holder = lock_holder(path)
        assert holder is not None
        assert 0 <= holder < 2**31

    try:
        nonsense.go_on(attack)
    finally:
        lock.release()


def test_in_the_environment_of_another_process(nonsense: Nonsense, tmp_path: Path) -> None:
    path = tmp_path / "environ"
    pieces = [
        b"A=1",
        b"PWD=/",
        b"=",
        b"==",
        b"NO",
        b"",
        b"\xff=\xfe",
        b"A=" + b"x" * 10**5,
        b"=C:=1",
    ]

    def attack(nonsense: Nonsense) -> None:
        chosen = [nonsense.random.choice(pieces) for _ in range(nonsense.random.randrange(5))]
        path.write_bytes(b"\0".join(chosen))
        nonsense.last = chosen
        with suppress(OSError):
            for name, value in invocation._read_environment(f"..{tmp_path}").items():
                assert name
                assert "\0" not in name + value

    nonsense.go_on(attack)


def test_what_is_handed_over_is_taken_over(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what is made of it here would be no test."""
    state = handed_over(daemon)
    assert handover.check(state) == state
    del state["commands"], state["signals"], state["lost"], state["metrics"]  # an older version
    assert handover.check(state) == state
    for wrong, message in (
        ({"lock": 5}, "descriptor 5 of the last supervisor"),
        ({"pidfile": "/run/d.pid"}, "no lock"),
        ({"workers": [{**state["workers"][0], "pid": -1}]}, r"it.workers\[0\].pid is -1"),
        ({"descriptors": [*state["descriptors"], 10**6]}, "1000000 of the last supervisor: Bad"),
    ):
        with pytest.raises(HandoverError, match=message):
            handover.check(state | wrong)

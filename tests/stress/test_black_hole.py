"""Packets are dropped, in a network namespace: every thread is back within its documented bound."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from pooldaemon.pool.drivers.mysql.dialect import PING_TIMEOUT, RESET_TIMEOUT, UNHEARD_LIMIT
from tests.stress.black_hole import CONNECT_TIMEOUT, READ_TIMEOUT
from tests.stress.conftest import MakeScratch
from tests.support.server import Server

pytestmark = pytest.mark.mysql

TIMEOUT = 150.0
SLACK = 4.0  # on a busy machine

# In seconds. After a statement that had no answer Django gives the connection back and, outside of
# atomic(), opens none; a transaction's end may open another one.
BOUNDS = {
    "connect": CONNECT_TIMEOUT,
    "ping": PING_TIMEOUT + UNHEARD_LIMIT + CONNECT_TIMEOUT,
    "unit": READ_TIMEOUT,
    "transaction": READ_TIMEOUT,
    "give back a variable": RESET_TIMEOUT,
    "give back a transaction": RESET_TIMEOUT,
    "give back unread rows": 0,
    "close": 0,
}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


class Namespace:
    """A network of its own, with a cable to this one."""

    def __init__(self) -> None:
        self.name = f"pd{secrets.token_hex(4)}"
        self.inside = f"{self.name}i"
        net = f"198.18.{secrets.randbelow(256)}"  # kept for tests like this one (RFC 2544)
        first = secrets.randbelow(60) * 4
        self.host, self._guest = f"{net}.{first + 1}", f"{net}.{first + 2}"

    def open(self) -> None:
        _ip("netns", "add", self.name)
        outside = f"{self.name}o"
        _ip("link", "add", outside, "type", "veth", "peer", "name", self.inside, "netns", self.name)
        _ip("addr", "add", f"{self.host}/30", "dev", outside)
        _ip("link", "set", outside, "up")
        _ip("-n", self.name, "addr", "add", f"{self._guest}/30", "dev", self.inside)
        _ip("-n", self.name, "link", "set", self.inside, "up")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.name)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2, to make a network namespace")
    namespace = Namespace()
    try:
        namespace.open()
    except subprocess.CalledProcessError as error:
        namespace.close()
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    yield namespace
    namespace.close()


def test_in_a_black_hole_every_thread_is_back_within_its_bound(
    namespace: Namespace, start_server: Callable[..., Server], make_scratch: MakeScratch
) -> None:
    server = start_server("--bind-address=0.0.0.0")
    account = make_scratch(server.url).account
    settings: dict[str, Any] = account.settings(HOST=namespace.host)
    program = [sys.executable, "-m", "tests.stress.black_hole"]
    run = subprocess.run(
        ["ip", "netns", "exec", namespace.name, *program, json.dumps(settings), namespace.inside],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert not answer["hang"]
    late = {
        stage: told["seconds"]
        for stage, told in answer["told"].items()
        if told["seconds"] > BOUNDS[stage.partition(" ")[2]] + SLACK
    }
    assert not late, answer["told"]
    failed = {stage for stage, told in answer["told"].items() if told["error"] is not None}
    assert failed == {
        f"{mode} {stage}"
        for mode in ("session", "transaction")
        for stage in ("connect", "ping", "unit", "transaction")
    }
    assert set(answer["answers"].values()) == {7}
    assert answer["most"] == 1, "more sessions than the pool's cap"

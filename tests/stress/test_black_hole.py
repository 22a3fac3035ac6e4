"""Packets are dropped, in a network namespace: every thread is back within its documented bound."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pooldaemon.pool.drivers.mysql.dialect import PING_TIMEOUT, RESET_TIMEOUT, UNHEARD_LIMIT
from pooldaemon.pool.drivers.mysql.keepalive import SILENCE_LIMIT
from tests.stress.black_hole import CONNECT_TIMEOUT, READ_TIMEOUT, STAGES, ask_once
from tests.stress.conftest import MakeScratch
from tests.support.namespace import Namespace, NoNamespaceError, new_namespace
from tests.support.poll import wait_until
from tests.support.server import Server, Session

pytestmark = pytest.mark.mysql

TIMEOUT = 150.0
GONE = 10.0
SLACK = 4.0  # on a busy machine

# In seconds. After a statement that had no answer Django returns the connection and, outside of
# atomic(), opens none; a transaction's end may open another one.
BOUNDS = {
    "connect": CONNECT_TIMEOUT,
    "ping": PING_TIMEOUT + UNHEARD_LIMIT + CONNECT_TIMEOUT,
    "unit": READ_TIMEOUT,
    "unit without read_timeout": SILENCE_LIMIT,
    "transaction": READ_TIMEOUT,
    "transaction without read_timeout": SILENCE_LIMIT,
    "return a variable": RESET_TIMEOUT,
    "return a transaction": RESET_TIMEOUT,
    "return unread rows": 0,
    "close": 0,
}


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    try:
        with new_namespace() as namespace:
            yield namespace
    except NoNamespaceError as reason:
        pytest.skip(str(reason))


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
        stage: result["seconds"]
        for stage, result in answer["results"].items()
        if result["seconds"] > BOUNDS[stage.partition(" ")[2]] + SLACK
    }
    assert not late, answer["results"]
    failed = {stage for stage, result in answer["results"].items() if result["error"] is not None}
    assert failed == {
        f"{mode} {stage}"
        for mode in ("session", "transaction")
        for stage in BOUNDS
        if STAGES[stage][1] is ask_once
    }
    assert set(answer["answers"].values()) == {7}
    assert answer["most"] == 1, "more sessions than the pool's cap"

    def left() -> list[Session]:
        return [one for one in server.processlist() if one.user == account.user]

    # Not one of which the server would find out in hours, with the locks of its transaction.
    wait_until(lambda: not left(), GONE, "sessions are left")

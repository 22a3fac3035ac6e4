"""Requests to sync and async views at once, under uvicorn: the cap holds, all is returned."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import pytest

from tests.asgi.conftest import CAP
from tests.asgi.project.views import VIEWS
from tests.asgi.site import DEADLINE, Site, answer
from tests.support.poll import wait_until

pytestmark = pytest.mark.mysql

IDLE = {"in_use": 0, "waiting": 0}


def wait_for(site: Site, **wanted: object) -> None:
    def reached() -> bool:
        stats = site.stats()
        return wanted == {name: stats[name] for name in wanted}

    wait_until(reached, DEADLINE, f"not yet {wanted}")


@contextmanager
def sampled_sessions(site: Site) -> Iterator[list[int]]:
    """How many sessions the server sees, again and again."""
    samples: list[int] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.is_set():
            samples.append(len(site.database.sessions()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join(DEADLINE)


def test_two_hundred_requests_at_once_never_have_more_sessions_than_the_cap(site: Site) -> None:
    views = [view.__name__ for view in islice(cycle(VIEWS), 200)]
    with sampled_sessions(site) as samples:
        requests = [site.send(view) for view in views]
        assert [answer(request) for request in requests] == [(200, "7")] * len(views)
        outliving = views.count("background_thread") + views.count("background_task")
        wait_for(site, background=[7] * outliving, **IDLE)
    assert max(samples) == CAP
    stats = site.stats()
    assert stats["waited"] > 0, "there was no crowd"
    assert (stats["peak"], stats["timeouts"], stats["connect_errors"]) == (CAP, 0, 0)


def test_requests_whose_clients_leave_stop_waiting_and_the_others_go_on(site: Site) -> None:
    name, admin = site.database.account.name, site.database.admin
    before = site.stats()["borrowed"]
    admin.query("SELECT GET_LOCK(%s, 0)", [name])
    holders = [site.send("wait_for_lock") for _ in range(CAP)]
    wait_for(site, in_use=CAP, waiting=0)
    leavers = [site.send(view) for view in ("sync", "orm", "insensitive")]
    wait_for(site, in_use=CAP, waiting=len(leavers))
    stayer = site.send("sync")
    wait_for(site, in_use=CAP, waiting=len(leavers) + 1)
    for leaver in leavers:
        leaver.close()
    wait_for(site, in_use=CAP, waiting=1)
    admin.query("SELECT RELEASE_LOCK(%s)", [name])
    assert [answer(request) for request in [*holders, stayer]] == [(200, "7")] * (CAP + 1)
    wait_for(site, borrowed=before + CAP + 1, **IDLE)

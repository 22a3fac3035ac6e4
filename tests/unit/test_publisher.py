from collections.abc import Callable
from typing import Any

from pooldaemon.workers.supervisor.publisher import Publisher


def test_what_the_daemon_tells_is_published_by_a_helper_once_an_interval() -> None:
    published: list[dict[str, Any]] = []
    helpers: list[Callable[[], None]] = []
    publisher = Publisher(published.append, interval=5)
    for now in (100.0, 101.0, 104.9, 105.0):
        publisher.look(now, lambda now=now: {"now": now}, helpers.append)
    assert published == []  # not in the supervisor
    for work in helpers:
        work()
    assert [status["now"] for status in published] == [100.0, 105.0]

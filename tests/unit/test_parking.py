"""A parked connection is found by whoever comes to wait, however the two meet."""

from typing import Any

from pooldaemon.pool import handle
from tests.unit.fakes import Pool, Task, give_back


def test_one_that_is_parked_while_another_thread_joins_the_queue_is_called_in() -> None:
    pool = Pool(pool_size=1, timeout=5)
    inner: Any = pool.managed._pool
    borrowed = pool.borrow()
    slot = borrowed._lease

    def find_nothing(since: float) -> None:
        del inner._take
        slot.parking.park(borrowed, slot)  # before there is a waiter to be seen

    inner._take = find_nothing
    give_back(Task(pool.borrow).result())
    assert handle.physical(borrowed) is None
    assert pool.driver.most_open == 1

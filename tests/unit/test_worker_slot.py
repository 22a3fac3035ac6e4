"""After how long a dead worker is replaced."""

from typing import Any

from pooldaemon.workers.supervisor.worker_set import GOOD_LIFE, RESPAWN_DELAY, WorkerSlot


class Dead:
    """What a slot looks at when its worker has died."""

    def __init__(self, *, was_ready: bool) -> None:
        self.started = 0.0
        self.was_ready = was_ready


def test_only_deaths_at_work_count_as_crashes_and_a_good_minute_forgives_them() -> None:
    slot: Any = WorkerSlot()
    for _ in range(3):
        slot.delay_after(Dead(was_ready=True), now=1.0)
    slot.delay_after(Dead(was_ready=False), now=1.0)
    assert slot.crashes == 3
    slot.delay_after(Dead(was_ready=True), now=GOOD_LIFE)
    assert slot.crashes == 1


def test_the_first_death_at_work_is_replaced_at_once_and_later_ones_after_growing_delays() -> None:
    slot: Any = WorkerSlot()
    first, longest = RESPAWN_DELAY
    assert slot.delay_after(Dead(was_ready=True), now=1.0) == 0
    for number in range(7):
        delay = min(longest, first * 2**number)
        assert delay / 2 <= slot.delay_after(Dead(was_ready=True), now=1.0) <= delay
    assert slot.delay_after(Dead(was_ready=True), now=GOOD_LIFE) == 0


def test_a_worker_that_cannot_boot_is_never_replaced_at_once() -> None:
    slot: Any = WorkerSlot()
    slot.delay_after(Dead(was_ready=True), now=1.0)
    delays = [slot.delay_after(Dead(was_ready=False), now=1.0) for _ in range(3)]
    assert all(delay >= RESPAWN_DELAY[0] / 2 for delay in delays)
    unlucky: Any = WorkerSlot()
    assert unlucky.delay_after(Dead(was_ready=False), now=1.0) > 0
    assert unlucky.delay_after(Dead(was_ready=True), now=1.0) > 0

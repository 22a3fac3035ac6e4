"""The messages for a borrower that gets no connection."""

from __future__ import annotations

from pooldaemon.exceptions import PoolDeadlock, PoolTimeout
from pooldaemon.stats import PoolStats


def deadlock(status: str, no_room: str, stats: PoolStats) -> PoolDeadlock:
    """
    :param status: the pool's state, in one line.
    :param no_room: that the process's limit is the reason, or an empty string.
    """
    return PoolDeadlock(
        f"{status}: this thread would wait for itself, since every connection is held by a thread "
        f"that waits for one.{no_room} Held by: {_holders(stats)}. Return one before borrowing "
        "another, or raise pool_size.",
        0.0,
        stats,
    )


def timed_out(
    status: str,
    no_room: str,
    stats: PoolStats,
    waited: float,
    timeout: float,
    connect_error: BaseException | None,
) -> PoolTimeout:
    """
    :param waited, timeout: seconds.
    :param connect_error: the last connect's error, if that connect failed.
    """
    last_error = f" Last connect error: {connect_error}." if connect_error else ""
    advice = "Return connections sooner (auto_close_db), or raise pool_size or timeout."
    if stats.paused:
        advice = "It was paused, and lends nothing until it is resumed."
    return PoolTimeout(
        f"{status}: no connection became free in {waited:.1f} s (timeout={timeout:g}).{no_room}"
        f"{last_error} Held by: {_holders(stats)}. {advice}",
        waited,
        stats,
        connect_error,
    )


def _holders(stats: PoolStats) -> str:
    return "; ".join(map(str, stats.holders)) or "nobody"

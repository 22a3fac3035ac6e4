"""Promises in seconds, kept on a machine that may be busy with something else."""

from collections.abc import Callable

TRIES = 10


def assert_within(seconds: float, measure: Callable[[], float]) -> None:
    """One good measurement shows that a promise is kept: a busy machine spoils some, a broken
    promise all.

    :param measure: does it all anew, and returns how many seconds it took.
    """
    taken: list[float] = []
    while not taken or taken[-1] >= seconds:
        assert len(taken) < TRIES, f"promised within {seconds:g} s, took {taken}"
        taken.append(measure())

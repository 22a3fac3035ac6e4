"""Matrices of values: some of them by default, all with MATRIX=all."""

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

WHOLE = os.environ.get("MATRIX") == "all"


def some(values: Iterable[T], number: int, first: int = 0) -> list[T]:
    """So many of them, evenly spread; for values that another test proves, or the same code.

    :param first: where to begin; another number takes other ones.
    """
    every = [*values]
    if WHOLE or number >= len(every):
        return every
    return [every[(first + n * len(every) // number) % len(every)] for n in range(number)]

"""What a command writes when it ends: to somebody who may have stopped reading."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reader_may_be_gone() -> Iterator[None]:
    """Whether what is written in the block is read (``| head``) is no concern of an exit status.

    Nor of the interpreter's, which writes at its end what is still in the buffers.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)

"""The demo's progress: a bar on a terminal, lines elsewhere."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Show = Callable[[int], None]


@contextlib.contextmanager
def progress(total: int, stream: TextIO) -> Iterator[Show]:
    """A function that shows the number done so far."""
    if not stream.isatty():
        yield _lines(total, stream)
        return
    columns = (TextColumn("delivering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(total: int, stream: TextIO) -> Show:
    """Print a line for each tenth only, so that the output stays short."""
    shown = -1

    def show(done: int) -> None:
        nonlocal shown
        tenth = done * 10 // total
        if tenth > shown:
            shown = tenth
            print(f"delivering: {done} of {total}", file=stream, flush=True)

    return show

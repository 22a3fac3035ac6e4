"""Tables and bars for any width of terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

BAR = 12
"""Characters in a bar."""

GAP = 2
"""Characters between columns."""

SHORT, SHORTEST = 24, 6
"""Characters. Columns are omitted before names are cut to less than ``SHORT``; if none is left to
omit, names are cut down to ``SHORTEST``."""

Cell = str | Text


@dataclass(frozen=True)
class Glyphs:
    """The characters for drawing. ``full``, ``half`` and ``free`` make a bar."""

    full: str = "█"
    half: str = "▒"
    free: str = "·"
    chosen: str = "▸"
    at_most: str = "≤"


ASCII = Glyphs("#", "-", ".", ">", "<=")
"""For terminals without Unicode."""


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    :ivar title: its heading.
    :ivar cell: returns the cell of a row.
    :ivar rank: when there is no room, columns with the highest rank are omitted first; those with
        rank 0, the default, never.
    :ivar left: align to the left. Default: to the right, as for numbers.
    :ivar name: a text that may be cut, aligned to the left.
    :ivar end: cut the beginning of the name, as of a path, not its end.
    """

    title: str
    cell: Callable[[Any], Cell]
    rank: int = 0
    left: bool = False
    name: bool = False
    end: bool = False


class Grid:
    """A table that omits columns rather than breaking lines."""

    def __init__(self, title: str | None, columns: Sequence[Column], rows: Iterable[Any]) -> None:
        self._title = title
        self._columns = columns
        self._cells = [[_text(column.cell(row)) for column in columns] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [
            max([cell_len(column.title), *(row[number].cell_len for row in self._cells)])
            for number, column in enumerate(self._columns)
        ]
        kept = _fitting(self._columns, widths, options.max_width)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
        cut = _cut(self._columns, widths, kept, options.max_width)
        for number, width in cut.items():
            column = self._columns[number]
            table.add_column(
                column.title,
                width=width,
                justify="left" if column.left or column.name else "right",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in self._cells:
            table.add_row(
                *(
                    _end_of(row[number], width) if self._columns[number].end else row[number]
                    for number, width in cut.items()
                )
            )
        if self._title:
            yield Text(self._title, "bold", no_wrap=True, overflow="ellipsis")
        yield table


def _fitting(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """The indexes of the columns that fit into *room* if names are cut."""
    kept = list(range(len(columns)))
    least = [
        min(width, SHORT) if column.name else width
        for column, width in zip(columns, widths, strict=True)
    ]
    while sum(least[number] + GAP for number in kept) - GAP > room:
        last = max(kept, key=lambda number: (columns[number].rank, number))
        if columns[last].rank == 0:
            break
        kept.remove(last)
    return kept


def _cut(
    columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int], room: int
) -> dict[int, int]:
    """The widths of the *kept* columns, with names cut as far as needed, the longest first."""
    cut = {number: widths[number] for number in kept}
    names = [number for number in kept if columns[number].name]
    for _ in range(sum(width + GAP for width in cut.values()) - GAP - room):
        longest = max(names, key=lambda number: cut[number], default=None)
        if longest is None or cut[longest] <= SHORTEST:
            break
        cut[longest] -= 1
    return cut


def bar(parts: Sequence[tuple[int, str, str]], total: float, free: str) -> Text:
    """A bar of *parts* of a *total*, filled up with the character *free*.

    A part that is not 0 has at least one character.

    :param parts: the size, character and style of each.
    """
    drawn = Text()
    left = BAR
    for size, glyph, style in parts:
        length = min(left, max(round(size / total * BAR), 1 if size > 0 else 0)) if total else 0
        drawn.append(glyph * length, style)
        left -= length
    return drawn.append(free * left, "dim")


def _end_of(text: Text, width: int) -> Text:
    return text if text.cell_len <= width else Text("…") + text[-(width - 1) :]


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)

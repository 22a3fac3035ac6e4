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
"""Characters that a name keeps: before it would get fewer than ``SHORT``, columns are left out."""

Cell = str | Text


@dataclass(frozen=True)
class Glyphs:
    """What is drawn with. ``full``, ``half`` and ``free`` make a bar."""

    full: str = "█"
    half: str = "▒"
    free: str = "·"
    chosen: str = "▸"
    at_most: str = "≤"


ASCII = Glyphs("#", "-", ".", ">", "<=")
"""For terminals that are not of Unicode."""


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    :ivar rank: the highest go first when there is no room; 0 stays.
    :ivar left: where its text stands; numbers stand to the right.
    :ivar name: text that may be cut; it stands to the left.
    :ivar end: of a name that is cut the end is kept, as with a path.
    """

    title: str
    cell: Callable[[Any], Cell]
    rank: int = 0
    left: bool = False
    name: bool = False
    end: bool = False


class Grid:
    """A table that leaves columns out rather than breaking lines."""

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
    """The numbers of the columns for which there is room, if their names are cut."""
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
    """The widths of the *kept* columns, their names cut as far as needed, the longest first."""
    cut = {number: widths[number] for number in kept}
    names = [number for number in kept if columns[number].name]
    for _ in range(sum(width + GAP for width in cut.values()) - GAP - room):
        longest = max(names, key=lambda number: cut[number], default=None)
        if longest is None or cut[longest] <= SHORTEST:
            break
        cut[longest] -= 1
    return cut


def bar(parts: Sequence[tuple[int, str, str]], total: float, free: str) -> Text:
    """*parts* of a *total*, each with its character and style, and what is *free*.

    What there is of a part is seen, be it ever so little of the total.
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

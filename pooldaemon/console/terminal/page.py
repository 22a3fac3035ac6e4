"""The whole screen of ``top``: headline, scrollable middle, footer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.segment import Segment, SegmentLines
from rich.text import Text

from pooldaemon.conf import count
from pooldaemon.console.terminal.controls import KEYS, Controls
from pooldaemon.console.terminal.draw import details, overview
from pooldaemon.console.terminal.grid import Column, Glyphs, Grid
from pooldaemon.console.view import DaemonView
from pooldaemon.console.words import clean

FOOTER = "? help  q quit  + - workers  r reload  s stacks  p pause  P resume"
"""The most important keys first: a narrow terminal cuts the end."""

TALL = 8
"""Lines of a terminal from which the footer always has a second line, for messages."""

TINY = 4
"""Lines of a terminal below which it shows only the middle."""


class Page:
    """Draws the screen in the terminal's present size.

    :param where: the daemons' directory, for the headline.
    :param glyphs: the characters for drawing.
    """

    def __init__(self, console: Console, where: str, glyphs: Glyphs) -> None:
        self._console = console
        self._where = where
        self._glyphs = glyphs

    def draw(
        self, views: Sequence[DaemonView], controls: Controls, clock: datetime
    ) -> RenderableType:
        """The screen.

        :param controls: its offset is corrected if it is beyond the last line.
        :param clock: the time for the headline.
        """
        height = self._console.size.height
        middle = self._lines(self._middle(views, controls))
        if height < TINY:
            head, foot = [], []
        else:
            head = self._line(f"pooldaemon top  {clock:%H:%M:%S}  {self._where}", "reverse")
            foot = self._line(FOOTER, "dim")
        room = max(1, height - len(head) - len(foot) - (height >= TALL))
        controls.offset = max(0, min(controls.offset, len(middle) - room))
        below = len(middle) - controls.offset - room
        if height >= TALL or controls.message:
            more = f"{count(below, 'more line')}: page down" if below > 0 else ""
            foot = self._line(controls.message or more, "bold") + foot
        shown = middle[controls.offset : controls.offset + room]
        empty: list[list[Segment]] = [[] for _ in range(room - len(shown))]
        return SegmentLines([*head, *shown, *empty, *foot], new_lines=True)

    def _middle(self, views: Sequence[DaemonView], controls: Controls) -> RenderableType:
        if controls.help:
            columns = [
                Column("KEY", lambda key: key, name=True),
                Column("", lambda key: KEYS[key], name=True),
            ]
            return Grid("Keys", columns, KEYS)
        if not views:
            return Text(f"No daemon is running in {self._where}. Waiting for one to start.")
        chosen = controls.look(views)
        parts = [overview(views, controls.chosen, self._glyphs)]
        if chosen is not None:
            parts += [Text(), details(chosen, self._glyphs)]
        return Group(*parts)

    def _line(self, text: str, style: str) -> list[list[Segment]]:
        line = Text(
            clean(text).ljust(self._console.width), style, no_wrap=True, overflow="ellipsis"
        )
        return self._lines(line)

    def _lines(self, item: RenderableType) -> list[list[Segment]]:
        options = self._console.options.update(height=None)
        return self._console.render_lines(item, options)

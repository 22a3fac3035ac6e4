"""Results as pictures, if matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.report import number
from benchmarks.result import Bars, Lines, Measure, Panels, Result

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError:
    mpl = None


def draw(result: Result, path: Path) -> bool:
    """Write *path*.svg, a picture per plot side by side; whether it could."""
    if mpl is None or not result.plots:
        return False
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": result.title})
    figure = _figure(result)
    figure.suptitle(result.title)
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    return True


def _figure(result: Result) -> Figure:
    if isinstance(result.plots[0], Panels):
        return _panels(result, result.plots[0])
    figure = Figure(figsize=(6.5 * len(result.plots), 4), layout="constrained")
    row = figure.subplots(1, len(result.plots), squeeze=False)[0]
    for axes, plot in zip(row, result.plots, strict=True):
        if isinstance(plot, Bars):
            _draw_bars(axes, result, plot)
        elif isinstance(plot, Lines):
            _draw_lines(axes, plot)
    return figure


def _panels(result: Result, plot: Panels) -> Figure:
    sections = list(dict.fromkeys(measure.section for measure in result.measures))
    down = -(-len(sections) // plot.across)
    figure = Figure(figsize=(2 + 4 * plot.across, 0.6 + 1.9 * down), layout="constrained")
    grid = figure.subplots(down, plot.across, squeeze=False, sharey=True)
    for axes, section in zip(grid.flat, sections, strict=False):
        _draw_panel(axes, result, plot, section)
    for axes in grid[-1]:
        axes.set_xlabel(f"{plot.column} (at each bar: {plot.beside})")
    return figure


def _draw_panel(axes: Any, result: Result, plot: Panels, section: str) -> None:
    measures = [m for m in result.measures if (m.section, m.column) == (section, plot.column)]
    for height, measure in enumerate(reversed(measures)):
        _draw_bar(axes, height, measure)
        beside = result.measure(section, measure.row, plot.beside).median
        text = f"{number(beside)} {plot.beside}"
        right = max(measure.median, measure.quartiles[1])
        axes.annotate(
            text, (right, height), (4, 0), textcoords="offset points", va="center", size="small"
        )
    axes.set_yticks(range(len(measures)), [m.row for m in reversed(measures)], fontsize="small")
    axes.set_title(section, fontsize="medium")
    axes.margins(x=0.3)  # for the words
    axes.set_xlim(left=0)


def _draw_bars(axes: Any, result: Result, plot: Bars) -> None:
    measures = [measure for measure in result.measures if measure.column == plot.column]
    several = len({measure.section for measure in measures}) > 1
    for height, measure in enumerate(reversed(measures)):
        _draw_bar(axes, height, measure)
    names = [f"{m.section}: {m.row}" if several else m.row for m in reversed(measures)]
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set_xlabel(plot.column)


def _draw_bar(axes: Any, height: int, measure: Measure) -> None:
    low, high = measure.quartiles
    middle = measure.median
    spread = [[middle - min(low, middle)], [max(high, middle) - middle]]
    axes.barh(height, middle, xerr=spread, capsize=2, color="tab:blue", alpha=0.7)


def _draw_lines(axes: Any, plot: Lines) -> None:
    for name, points in plot.curves.items():
        axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 20 else "")
    if plot.logarithmic:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.legend(fontsize="small")

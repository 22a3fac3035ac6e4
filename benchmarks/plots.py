"""Results as pictures, if matplotlib is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.result import Bars, Lines, Result

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
    figure = Figure(figsize=(6.5 * len(result.plots), 4), layout="constrained")
    figure.suptitle(result.title)
    row = figure.subplots(1, len(result.plots), squeeze=False)[0]
    for axes, plot in zip(row, result.plots, strict=True):
        if isinstance(plot, Bars):
            _draw_bars(axes, result, plot)
        else:
            _draw_lines(axes, plot)
    figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    return True


def _draw_bars(axes: Any, result: Result, plot: Bars) -> None:
    measures = [measure for measure in result.measures if measure.column == plot.column]
    several = len({measure.section for measure in measures}) > 1
    for height, measure in enumerate(reversed(measures)):
        low, high = measure.quartiles
        middle = measure.median
        spread = [[middle - min(low, middle)], [max(high, middle) - middle]]
        axes.barh(height, middle, xerr=spread, capsize=2, color="tab:blue", alpha=0.7)
    names = [f"{m.section}: {m.row}" if several else m.row for m in reversed(measures)]
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set_xlabel(plot.column)


def _draw_lines(axes: Any, plot: Lines) -> None:
    for name, points in plot.curves.items():
        axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 20 else "")
    if plot.logarithmic:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.legend(fontsize="small")

"""Results as files: everything as JSON, a readable page that is also reStructuredText."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.result import Check, Measure, Ratio, Result

WIDTH = 99

QUICK = "A quick run: too short for its figures to mean anything."


def write(result: Result, environment: dict[str, str], path: Path, *, quick: bool) -> None:
    """Write *path*.json and *path*.rst."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "title": result.title,
        "how": result.how,
        "quick": quick,
        "rounds": result.rounds,
        "environment": environment,
        "measures": [_measure(measure) for measure in result.measures],
        "comparisons": [_comparison(comparison) for comparison in result.comparisons],
        "notes": result.notes,
        "plots": [asdict(plot) for plot in result.plots],
    }
    _file(path, "json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _file(path, "rst").write_text(page(result, environment, quick=quick), encoding="utf-8")


def _file(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _measure(measure: Measure) -> dict[str, Any]:
    quartiles = measure.quartiles
    return asdict(measure) | {"median": measure.median, "quartiles": quartiles}


def _comparison(comparison: Ratio | Check) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": comparison.name,
        "value": comparison.value,
        "at_most": comparison.at_most,
        "at_least": comparison.at_least,
        "met": is_met(comparison),
    }
    if isinstance(comparison, Ratio):
        record |= {"column": comparison.over.column, "quartiles": comparison.quartiles}
    return record


def is_met(comparison: Ratio | Check) -> bool | None:
    """Whether the target is met; ``None`` if there is none."""
    low, high = comparison.at_least, comparison.at_most
    if low is None and high is None:
        return None
    return (low is None or comparison.value >= low) and (high is None or comparison.value <= high)


# -- the readable page -----------------------------------------------------------------


def page(result: Result, environment: dict[str, str], *, quick: bool) -> str:
    parts = [f"{result.title}\n{'=' * len(result.title)}", fill(result.how, WIDTH)]
    if quick:
        parts.append(QUICK)
    for section in dict.fromkeys(measure.section for measure in result.measures):
        parts += [f"{section}\n{'-' * len(section)}", _section_table(result, section)]
    if result.comparisons:
        parts += ["Ratios and targets\n------------------", _comparison_table(result)]
    parts += [fill(f"* {note}", WIDTH, subsequent_indent="  ") for note in result.notes]
    environment_line = "; ".join(f"{name} {value}" for name, value in environment.items())
    parts.append(fill(f"{_rounds(result.rounds)}. {environment_line}.", WIDTH))
    return "\n\n".join(parts) + "\n"


def _rounds(rounds: int) -> str:
    return "One round" if rounds == 1 else f"Medians of {rounds} rounds (quartiles in brackets)"


def _section_table(result: Result, section: str) -> str:
    measures = [measure for measure in result.measures if measure.section == section]
    columns = list(dict.fromkeys(measure.column for measure in measures))
    cells = {(measure.row, measure.column): _spread(measure) for measure in measures}
    rows = [
        [row, *(cells.get((row, column), "n/a") for column in columns)]
        for row in dict.fromkeys(measure.row for measure in measures)
    ]
    return table(["", *columns], rows)


def _comparison_table(result: Result) -> str:
    rows = []
    for comparison in result.comparisons:
        value = number(comparison.value)
        if isinstance(comparison, Ratio) and len(comparison.over.values) > 1:
            low, high = comparison.quartiles
            value += f" ({number(low)}-{number(high)})"
        rows.append([comparison.name, value, _target(comparison), _verdict(comparison)])
    return table(["", "measured", "target", "met"], rows)


def _target(comparison: Ratio | Check) -> str:
    if comparison.at_most is not None and comparison.at_most == comparison.at_least:
        return f"exactly {number(comparison.at_most)}"
    if comparison.at_most is not None:
        return f"at most {number(comparison.at_most)}"
    if comparison.at_least is not None:
        return f"at least {number(comparison.at_least)}"
    return "none"


def _verdict(comparison: Ratio | Check) -> str:
    return {True: "yes", False: "NO", None: "n/a"}[is_met(comparison)]


def _spread(measure: Measure) -> str:
    if len(measure.values) == 1:
        return number(measure.values[0])
    low, high = measure.quartiles
    return f"{number(measure.median)} ({number(low)}-{number(high)})"


def number(value: float) -> str:
    """Three digits at least, no more decimals than they need."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:.{decimals}f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A simple table of reStructuredText."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    widths[0] = max(widths[0], 1)
    rule = "  ".join("=" * width for width in widths)
    # An empty first cell would continue the line above.
    lines = [[header[0] or "\\", *header[1:]], *rows]
    text = [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
    ]
    return "\n".join([rule, text[0].rstrip(), rule, *(line.rstrip() for line in text[1:]), rule])

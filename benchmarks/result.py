"""What a case has measured, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.measure import quantile


class Skipped(Exception):
    """A case can't be measured on this server; says why."""


@dataclass(frozen=True)
class Measure:
    """One quantity of one contender, by round.

    :ivar section: the table it belongs to; :ivar row: whose it is; :ivar column: what it is, with
        its unit.
    """

    section: str
    row: str
    column: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        return quantile(self.values, 0.25), quantile(self.values, 0.75)


@dataclass(frozen=True)
class Ratio:
    """One median over another, with what it is meant to be.

    :ivar at_most, at_least: the target, if there is one.
    """

    name: str
    over: Measure
    under: Measure
    at_most: float | None = None
    at_least: float | None = None

    @property
    def value(self) -> float:
        return self.over.median / self.under.median

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the ratios round by round."""
        pairs = zip(self.over.values, self.under.values, strict=True)
        ratios = [over / under for over, under in pairs]
        return quantile(ratios, 0.25), quantile(ratios, 0.75)


@dataclass(frozen=True)
class Check:
    """A figure with what it is meant to be; exactly that, if both targets are the same."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True)
class Bars:
    """A plot of one column: a group of bars per section, a bar per row."""

    column: str


@dataclass(frozen=True)
class Panels:
    """A plot of one column, the only one of its result: a panel per section, a bar per row.

    :ivar beside: the column whose figure is written at the end of each bar.
    :ivar across: panels side by side.
    """

    column: str
    beside: str
    across: int


@dataclass(frozen=True)
class Lines:
    """A plot of curves, each of points (x, y)."""

    x: str
    y: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: bool = False


@dataclass
class Result:
    """All of one case.

    :ivar how: what was measured, in a few sentences.
    """

    title: str
    how: str
    rounds: int
    measures: list[Measure] = field(default_factory=list)
    comparisons: list[Ratio | Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: list[Bars | Lines | Panels] = field(default_factory=list)

    def add(self, section: str, row: str, values: Mapping[str, Sequence[float]]) -> None:
        """Add what one contender's rounds gave."""
        self.measures += [Measure(section, row, column, list(v)) for column, v in values.items()]

    def has(self, section: str, row: str) -> bool:
        return any((m.section, m.row) == (section, row) for m in self.measures)

    def measure(self, section: str, row: str, column: str) -> Measure:
        for measure in self.measures:
            if (measure.section, measure.row, measure.column) == (section, row, column):
                return measure
        raise LookupError(f"nothing was measured of {column!r} for {row!r} in {section!r}")

    def compare(
        self,
        section: str,
        over: str,
        under: str,
        column: str,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Compare two rows, if both are there: a contender may not run, or get nothing done."""
        if self.has(section, over) and self.has(section, under):
            name = f"{section}: {over} / {under}"
            pair = self.measure(section, over, column), self.measure(section, under, column)
            if all(pair[1].values):
                self.comparisons.append(Ratio(name, *pair, at_most, at_least))

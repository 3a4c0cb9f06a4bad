"""What a comparison of two frames says: for programs, for tables, and for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import polars as pl

from tidegauge.detectors.finding import Claim, Verdict, numbers
from tidegauge.model import ALL

SHOWN = 20
OF_VALUES = (
    "psi",
    "kl",
    "jensen_shannon",
    "chi_squared",
    "ks",
    "wasserstein",
    "anderson_darling",
    "mean_shift",
    "variance_shift",
    "quantile_shift",
)
"""The detectors that compare values, not what is missing or new."""
SCHEMA: dict[str, Any] = {
    "column": pl.String,
    "dimension": pl.String,
    "slice": pl.String,
    "detector": pl.String,
    "verdict": pl.String,
    "statistic": pl.Float64,
    "p_value": pl.Float64,
    "p_adjusted": pl.Float64,
    "effect": pl.Float64,
    "effect_floor": pl.Float64,
    "n_reference": pl.Int64,
    "n_current": pl.Int64,
    "dropped_reference": pl.Int64,
    "dropped_current": pl.Int64,
    "moved": pl.String,
    "reason": pl.String,
}


@dataclass(frozen=True)
class Comparison:
    """Typed results of ``compare``.

    Attributes:
        rows_reference: Rows of the reference; ``rows_current`` those of the current frame.
        false_discovery_rate: What the verdicts were made with.
        columns: Those that were asked about, in the order of the frames.
        claims: One for each column, detector and part of the rows. Of slices only drift, and what could not be told.
            ``outcome`` is a ``Result`` (statistic, p-value, effect and its floor, sizes) or ``Undetermined`` with the
            reason; ``verdict`` is drift, stable or undetermined; ``evidence`` the shares of the cells as JSON.
    """

    rows_reference: int
    rows_current: int
    false_discovery_rate: float
    columns: tuple[str, ...]
    claims: tuple[Claim, ...]

    @cached_property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted in all rows, those that moved furthest beyond their floor first."""
        furthest: dict[str, float] = {}
        for each in self.claims:
            if each.verdict is Verdict.DRIFT and each.part == ALL:
                furthest[each.feature] = max(furthest.get(each.feature, 0.0), _times_floor(each))
        return tuple(sorted(furthest, key=lambda name: (-furthest[name], name)))

    @cached_property
    def undetermined(self) -> dict[str, str]:
        """Columns whose values could not be compared in all rows, and why; what is missing may still be known."""
        found: dict[str, str] = {}
        for name in dict.fromkeys(each.feature for each in self.claims if each.feature not in self.drifted):
            everywhere = [each for each in self.claims if each.feature == name and each.part == ALL]
            asked = [each for each in everywhere if each.detector in OF_VALUES] or everywhere
            if asked and all(each.verdict is Verdict.UNDETERMINED for each in asked):
                found[name] = numbers(asked[0])["reason"]
        return found

    def of(self, column: str) -> tuple[Claim, ...]:
        """All claims about a column. Raises KeyError for one that was not asked about."""
        if column not in self.columns:
            raise KeyError(column)
        return tuple(each for each in self.claims if each.feature == column)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a claim, with the names of ``SCHEMA``; None where there is no number."""
        return [_row(each) for each in self.claims]

    def to_polars(self) -> pl.DataFrame:
        """One row a claim."""
        return pl.DataFrame(self.rows(), schema=SCHEMA)

    def to_pandas(self) -> pd.DataFrame:
        """One row a claim."""
        return pd.DataFrame(self.rows(), columns=list(SCHEMA))

    def as_json(self) -> dict[str, Any]:
        """Everything, in what JSON can say."""
        return {
            "rows": {"reference": self.rows_reference, "current": self.rows_current},
            "false_discovery_rate": self.false_discovery_rate,
            "columns": list(self.columns),
            "drifted": list(self.drifted),
            "undetermined": self.undetermined,
            "claims": [_row(each) | {"evidence": _parsed(each.evidence)} for each in self.claims],
        }

    def __str__(self) -> str:
        """For people: what drifted and how, what could not be told, and how much did not change."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"reference {self.rows_reference:,} rows, current {self.rows_current:,} rows, {_many(len(self.columns))}"
        drifting = [each for each in self.claims if each.verdict is Verdict.DRIFT]
        yield f"drift: {', '.join(map(_one_line, self.drifted)) or ('none in all rows' if drifting else 'none')}"
        order = {name: at for at, name in enumerate(self.drifted)}
        drifting.sort(key=lambda each: (order.get(each.feature, len(order)), each.part != ALL))
        yield from _table([_cells(each) for each in drifting if each.part == ALL])
        yield from _slices([each for each in drifting if each.part != ALL])
        for name, reason in self.undetermined.items():
            yield f"undetermined: {'' if name == '*' else _one_line(name) + ': '}{reason}"
        calm = len([name for name in self.columns if name not in self.drifted and name not in self.undetermined])
        yield f"stable: {_many(calm)}"


HEAD = ("column", "detector", "statistic", "effect", "floor", "p adjusted", "what moved most")


def _cells(claim: Claim) -> tuple[str, ...]:
    found = numbers(claim)
    values = found["statistic"], found["effect"], found["effect_floor"], claim.p_adjusted
    reason = "" if claim.part != ALL else found["reason"]
    return (claim.feature, claim.detector, *(f"{each:.4g}" for each in values), _moved(claim) or reason)


def _slices(claims: list[Claim]) -> Iterator[str]:
    if not claims:
        return
    rows = [(str(each.part), *_cells(each)) for each in sorted(claims, key=lambda each: -_times_floor(each))]
    yield f"in slices, the {min(SHOWN, len(rows))} furthest of {len(rows)}:"
    yield from _table(rows[:SHOWN], ("slice", *HEAD))


def _table(rows: list[tuple[str, ...]], head: tuple[str, ...] = HEAD) -> Iterator[str]:
    if not rows:
        return
    clean = [head, *(tuple(_one_line(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    for row in clean:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(claim: Claim) -> dict[str, Any]:
    found = {"dropped_reference": 0, "dropped_current": 0} | numbers(claim)
    told: dict[str, Any] = {"column": claim.feature, "dimension": claim.part.dimension, "slice": claim.part.value}
    told |= {"detector": claim.detector, "verdict": claim.verdict.value, "p_adjusted": claim.p_adjusted}
    return {name: (told | found | {"moved": _moved(claim)}).get(name) for name in SCHEMA}


def _moved(claim: Claim) -> str:
    """The cell whose share changed most, in words."""
    shown = _parsed(claim.evidence)
    if not shown:
        return ""
    before, now = shown["reference"], shown["current"]
    at = max(range(len(before)), key=lambda cell: abs(now[cell] - before[cell]))
    return f"{shown['labels'][at]}: {_percent(before[at])} to {_percent(now[at])}" if before[at] != now[at] else ""


def _parsed(evidence: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(evidence) if evidence else None
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _times_floor(claim: Claim) -> float:
    found = numbers(claim)
    return float(found.get("effect", 0.0)) / max(float(found.get("effect_floor", 0.0)), 1e-300)


def _many(columns: int) -> str:
    return f"{columns} column{'' if columns == 1 else 's'}"


def _one_line(text: str) -> str:
    """Names come from data: no control characters reach a terminal."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return shown if len(shown) <= 60 else shown[:57] + "..."

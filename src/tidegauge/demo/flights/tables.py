"""The tables of docs/flights.md, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import polars as pl

from tidegauge.demo.flights.data import FEATURES, NUMERIC
from tidegauge.demo.flights.faults import parse_fault
from tidegauge.demo.flights.model import Fitted
from tidegauge.demo.flights.stream import FlightsStream
from tidegauge.demo.flights.truth import Performance, Shift, monthly_performance, performance, weekly_shifts

MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FEWEST_LABELS = 100
FEWEST_WITHOUT = 20
PSI_LARGE = 0.25
EXAMPLES = (
    *(
        "units:temp",
        "units:distance",
        "missing:temp",
        "missing:minute_of_day",
        "constant:temp",
        "constant:minute_of_day",
    ),
    *("labels:UA", "new_category:UA", "volume:JFK", "version", "version:0.2"),
)


def everything(stream: FlightsStream) -> str:
    """All tables, under their headings."""
    training, later = stream.training, stream.later
    months = monthly_performance(later)
    shifts = weekly_shifts(training, later)
    parts = {
        "The model on January to March": model_table(stream.fitted),
        "Flights and labels": flights_table(pl.concat([training, later])),
        "The model by month": months_table(months),
        "The model under faults from July on": faults_table(stream),
        "Features: the summary": summary_table(weekly_shifts(training, training), shifts),
        "Missing values by month": missing_table(pl.concat([training, later])),
        "Days without weather": outages_table(pl.concat([training, later])),
        "Destinations not seen in training": destinations_table(training, later),
        "PSI by week": weeks_table(shifts, FEATURES, lambda each: each.psi),
        "KS by week": weeks_table(shifts, NUMERIC, lambda each: each.ks),
        **{f"{name} by carrier and month": carriers_table(months, value) for name, value in _CARRIER_VALUES.items()},
    }
    return "\n".join(f"### {heading}\n\n{body}" for heading, body in parts.items())


_CARRIER_VALUES: dict[str, Callable[[Performance], str]] = {
    "Labelled flights": lambda each: f"{each.quality.flights:,}",
    "Late rate": lambda each: f"{each.quality.late_rate:.1%}",
    "Accuracy": lambda each: f"{each.accuracy:.3f}",
    "AUC": lambda each: f"{each.quality.auc:.3f}",
    "Brier": lambda each: f"{each.quality.brier:.3f}",
}


def model_table(fitted: Fitted) -> str:
    """How good the model is on days of January to March that were kept from it."""
    quality = fitted.quality
    values = (f"{quality.late_rate:.1%}", f"{quality.auc:.3f}", f"{quality.brier:.4f}", f"{fitted.model.threshold:.3f}")
    return markdown(("labelled flights", "late", "AUC", "Brier", "threshold"), [(f"{quality.flights:,}", *values)])


def flights_table(rows: pl.DataFrame) -> str:
    """Flights, those that got a label, and the share of these that were late, by month."""
    months = rows.group_by(pl.col("date").dt.month().alias("month")).agg(
        pl.len().alias("flights"), pl.col("late").count().alias("labelled"), pl.col("late").mean().alias("late_rate")
    )
    lines = [
        (MONTHS[each["month"]], f"{each['flights']:,}", f"{each['labelled']:,}", f"{each['late_rate']:.1%}")
        for each in months.sort("month").iter_rows(named=True)
    ]
    return markdown(("month", "flights", "labelled", "late"), lines)


def months_table(months: Sequence[Performance]) -> str:
    """The model over all carriers by month."""
    lines = [(MONTHS[each.month], *_quality(each)) for each in months if not each.carrier]
    return markdown(("month", "late", "mean score", "accuracy", "AUC", "Brier"), lines)


def faults_table(stream: FlightsStream) -> str:
    """What faults that begin on July 1 do to the model on the labelled flights from that day on."""
    faults = [parse_fault(f"{each}@2013-07-01") for each in EXAMPLES]
    found = [
        _fault_line("none", stream.later),
        *map(_fault_line, EXAMPLES, (stream.with_fault(f).later for f in faults)),
    ]
    return markdown(("fault", "late", "mean score", "accuracy", "AUC", "Brier"), found)


def _fault_line(name: str, rows: pl.DataFrame) -> tuple[str, ...]:
    labelled = rows.filter(pl.col("late").is_not_null(), pl.col("date") >= pl.date(2013, 7, 1))
    return (name, *_quality(performance("", 0, labelled)))


def _quality(each: Performance) -> tuple[str, ...]:
    quality = each.quality
    shares = (f"{quality.late_rate:.1%}", f"{each.mean_score:.1%}", f"{each.accuracy:.3f}")
    return (*shares, f"{quality.auc:.3f}", f"{quality.brier:.4f}")


def summary_table(before: Sequence[Shift], after: Sequence[Shift]) -> str:
    """For each feature: how far the weeks of training lie from the whole of it, and how far the later weeks do."""
    return markdown(
        (
            *("feature", "training weeks: median PSI", "largest", "later weeks: median PSI", "largest"),
            *("in the week of", "weeks above training's largest", f"weeks above {PSI_LARGE}"),
        ),
        [
            _summary([s for s in before if s.feature == name], [s for s in after if s.feature == name])
            for name in FEATURES
        ],
    )


def _summary(before: Sequence[Shift], after: Sequence[Shift]) -> tuple[str, ...]:
    usual, floor = [each.psi for each in before], max(each.psi for each in before)
    worst = max(after, key=lambda each: each.psi)
    beyond, large = (sum(each.psi > limit for each in after) for limit in (floor, PSI_LARGE))
    values = (median(usual), floor, median(each.psi for each in after), worst.psi)
    return (worst.feature, *(f"{each:.3f}" for each in values), f"{worst.week:%m-%d}", str(beyond), str(large))


def missing_table(rows: pl.DataFrame) -> str:
    """The share of flights without a value, by month, for the features that have gaps."""
    gaps = [name for name in NUMERIC if rows[name].is_nan().any()]
    months = rows.group_by(pl.col("date").dt.month().alias("month")).agg(pl.col(gaps).is_nan().mean()).sort("month")
    lines = [(MONTHS[row[0]], *(f"{share:.1%}" for share in row[1:])) for row in months.iter_rows()]
    return markdown(("month", *gaps), lines)


def outages_table(rows: pl.DataFrame) -> str:
    """Days and origins on which at least 20 flights had no temperature."""
    places = rows.group_by("date", "origin").agg(pl.col("temp").is_nan().sum().alias("without"), pl.len())
    found = places.filter(pl.col("without") >= FEWEST_WITHOUT).sort("date", "origin")
    return markdown(("day", "origin", "without", "flights"), [tuple(map(str, row)) for row in found.iter_rows()])


def destinations_table(training: pl.DataFrame, later: pl.DataFrame) -> str:
    """Destinations that first come after training, with their first day and their flights."""
    new = later.filter(~pl.col("dest").is_in(training["dest"].unique().to_list()))
    found = new.group_by("dest").agg(pl.col("date").min(), pl.len().alias("flights")).sort("date", "dest")
    return markdown(("destination", "first day", "flights"), [tuple(map(str, row)) for row in found.iter_rows()])


def weeks_table(shifts: Sequence[Shift], features: Sequence[str], value: Callable[[Shift], float]) -> str:
    """One line a week, one column a feature."""
    by_place = {(each.week, each.feature): value(each) for each in shifts}
    weeks = sorted({each.week for each in shifts})
    return markdown(
        ("week of", *features), [(f"{w:%m-%d}", *(_number(by_place[w, name]) for name in features)) for w in weeks]
    )


def carriers_table(each_month: Sequence[Performance], value: Callable[[Performance], str]) -> str:
    """One line a carrier, one column a month; ``-`` where fewer than 100 flights got a label."""
    by_place = {(each.carrier, each.month): value(each) for each in each_month if each.quality.flights >= FEWEST_LABELS}
    carriers, months = sorted({each.carrier for each in each_month} - {""}), sorted({e.month for e in each_month})
    lines = [(carrier, *(by_place.get((carrier, month), "-") for month in months)) for carrier in carriers]
    return markdown(("carrier", *(MONTHS[month] for month in months)), lines)


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ("---", *("---:" for _ in header[1:]))
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines))


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"

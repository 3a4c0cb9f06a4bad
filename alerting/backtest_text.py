"""A backtest for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from tidegauge.alerting.backtest import Backtest, Judged
from tidegauge.alerting.durations import format_duration
from tidegauge.alerting.expected import Expected, few, together
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.text import amount, labels_text, plain

SHOWN = 20


def print_backtest(found: Backtest, rules: Sequence[Rule], console: Console) -> None:
    """Rules first, then known incidents, then the notifications themselves."""
    known = bool(found.incidents)
    table = Table(
        "rule",
        "severity",
        "fired",
        "a week",
        "false a week",
        "open for",
        *(["true", "false"] if known else []),
        "proposed",
    )
    for line, rule in zip(found.rules, rules, strict=True):
        table.add_row(*_rule(line, rule, known))
    console.print(table)
    expected = [each.expected for each in found.rules if each.expected]
    for text in [each.line() for each in expected] + together(expected):
        console.print(plain(text, 1000), markup=False, soft_wrap=True)
    for each in found.incidents:
        told = (
            f"told of after {format_duration(each.delay)} by {each.rule}" if each.delay is not None else "NOT told of"
        )
        console.print(f"incident {plain(each.incident)}: {told}", markup=False)
    for text in _notifications(found):
        console.print(text, markup=False)


def _rule(line: Judged, rule: Rule, known: bool) -> Iterator[str]:
    yield plain(rule.alert) + (f" ({line.failed_rounds} rounds failed)" if line.failed_rounds else "")
    yield line.past.severity
    yield str(line.past.fired)
    yield f"{line.per_week:.2g}"
    yield _expected(line.expected)
    yield format_duration(timedelta(seconds=round(line.past.open_for.total_seconds())))
    yield from (str(line.true), str(line.false)) if known else ()
    yield _proposal(line, rule)


def _expected(found: Expected | None) -> str:
    if found is None or found.per_week is None:
        return "unknown"
    return few(found.per_week)


def _proposal(line: Judged, rule: Rule) -> str:
    if line.proposal is None:
        return ""
    if rule.compare:
        name, value = "above_ratio" if rule.upward else "below_ratio", f"{line.proposal.threshold:.3g}"
    else:
        name, value = "above" if rule.upward else "below", amount(line.proposal.threshold, rule.measure.unit)
    return f"{name}: {value} ({line.proposal.per_week:.2g} a week)"


def _notifications(found: Backtest) -> Iterator[str]:
    for each in found.fired[:SHOWN]:
        during = f"  [in {plain(each.incident)}]" if each.incident else ""
        yield f"{each.at:%Y-%m-%d %H:%M}  {plain(each.rule)}  {labels_text(each.labels)}  {plain(each.summary)}{during}"
    if len(found.fired) > SHOWN:
        yield f"and {len(found.fired) - SHOWN} more; --json lists all"

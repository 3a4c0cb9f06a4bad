"""How many false pages a statistical rule must be expected to bring, before it goes live."""

from __future__ import annotations

from collections.abc import Sequence

from tidegauge.alerting.rules import Rule
from tidegauge.config import Detectors, Watch
from tidegauge.metrics import Kind

WEEK_HOURS = 168.0


def false_pages_per_week(rule: Rule, detectors: Detectors) -> float | None:
    """At most so many a week for each model or service, while nothing drifts; None for rules on other metrics.

    Each evaluation holds the expected share of false findings at ``false_discovery_rate`` (Benjamini and Hochberg);
    where nothing drifts, that is the probability of any finding at all. The tests that look at every hour have a rate
    of their own. Findings of the same evaluation are one page, and one that is open is no second page.
    """
    if rule.measure.kind is not Kind.FINDING:
        return None
    most = max(_per_week(each) for each in (*detectors.models, *detectors.services))
    return most + detectors.false_pages_per_month * 7 / 30


def expectations(rules: Sequence[Rule], detectors: Detectors) -> list[str]:
    """A line for each statistical rule."""
    found = [(rule, false_pages_per_week(rule, detectors)) for rule in rules]
    return [
        f"{rule.alert}: at most {pages:.2g} false {'pages' if rule.severity == 'page' else 'alerts'} a week for each "
        "model or service must be expected while nothing drifts"
        for rule, pages in found
        if pages is not None
    ]


def _per_week(watch: Watch) -> float:
    return watch.false_discovery_rate * WEEK_HOURS / watch.step_hours

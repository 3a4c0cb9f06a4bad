"""Promised false pages against observed ones: streams in which nothing is wrong, through the real evaluator.

    python benchmarks/expected_pages.py [--weeks 20] [--series 20] [--only rate] [--seed 1] [--json]

Each case is a rule and a stream at the very edge of what the rule takes as calm, or at a stated level. Records come as
a Poisson process, the evaluator runs round by round over sliding windows, and pages are counted. A case fails when
more pages are seen than a Poisson count of what was promised brings in one of a thousand runs. Last, the bound from
four weeks of a metric's own history is held against the truth a hundred times. Fully seeded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm, poisson

from tidegauge.alerting.evaluate import evaluate
from tidegauge.alerting.expected import at_level, expected
from tidegauge.alerting.remembered import remembered
from tidegauge.alerting.replay import Round, play
from tidegauge.alerting.rules import Rule
from tidegauge.alerting.states import AlertState, Notice, Reading
from tidegauge.config import Detectors
from tidegauge.metrics import METRICS, Kind, Observation, wilson
from tidegauge.model import Window

WHO = {"severity": "page", "owner": "o", "runbook": "r", "action": "a"}
START = datetime(2026, 3, 2, tzinfo=UTC)
WEEK_S = 604_800
Z95 = 1.959963984540054
Sums = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A rule, records a minute, the true level, seconds between rounds, and the earlier level of a comparison.

    With a season the level of each week, this one too, is ``spread`` (of a logarithm, standard deviation) away from
    the true one, for ``lasting`` at a time. With ``promised_at`` the promise is that for this level, else that of
    ``tidegauge rules check``.
    """

    name: str
    rule: dict[str, Any]
    per_minute: float
    level: float
    every_s: int = 30
    before: float | None = None
    promised_at: float | None = None
    spread: float = 0.0
    lasting: timedelta = timedelta(hours=1)


SEASON = {"window": "1h", "compare": {"season": "4w", "above_ratio": 1.5}}
CASES = (
    Case("rate, no for", {"window": "15m", "above": 0.05, "min_samples": 50}, 20, 0.05),
    Case("rate, for two windows", {"window": "15m", "above": 0.05, "for": "30m", "min_samples": 50}, 20, 0.05),
    Case("rate, for one window", {"window": "10m", "above": 0.05, "for": "10m", "min_samples": 50}, 30, 0.05),
    Case("rate, for half a window", {"window": "30m", "above": 0.1, "for": "15m"}, 5, 0.1),
    Case("rate, few samples", {"window": "15m", "above": 0.05, "min_samples": 50}, 4, 0.05),
    Case("rate, rare", {"window": "30m", "above": 0.002, "min_samples": 100}, 20, 0.002),
    Case("rate, below", {"window": "15m", "below": 0.95, "min_samples": 50}, 20, 0.95),
    Case("rate at its level", {"window": "15m", "above": 0.05, "min_samples": 50}, 6, 0.035, promised_at=0.035),
    Case("mean", {"metric": "quality_score", "window": "1h", "below": 0.7, "min_samples": 50}, 2, 0.7, 60),
    Case("rate against a day before", {"window": "1h", "compare": {"offset": "1d", "above_ratio": 1.2}}, 10, 0.06, 60,
         before=0.05),
    Case("fall against a day before", {"window": "1h", "compare": {"offset": "1d", "below_ratio": 0.8}}, 10, 0.04, 60,
         before=0.05),
    Case("season, weeks alike", SEASON, 10, 0.15, 60, before=0.1),
    Case("season, hours differ", SEASON, 10, 0.15, 60, before=0.1, spread=0.2),
    Case("season, days differ", SEASON, 10, 0.15, 60, before=0.1, spread=0.2, lasting=timedelta(days=1)),
    Case("season, for half an hour", SEASON | {"for": "30m"}, 10, 0.15, 60, before=0.1, spread=0.2,
         lasting=timedelta(days=1)),
    Case("season of eight weeks, fall", {"window": "1h", "compare": {"season": "8w", "below_ratio": 0.7}}, 10, 0.14, 60,
         before=0.2, spread=0.1, lasting=timedelta(days=1)),
    Case("season of a count", SEASON | {"metric": "llm_requests"}, 10, 1.5, 60, before=1.0, spread=0.2,
         lasting=timedelta(days=1)),
    Case("error budget", {"slo": {"objective": 0.9}, "min_samples": 30}, 2, 0.1, 300),
    Case("trend", {"metric": "quality_score", "trend": {"step": "1d", "steps": 14, "below_ratio": 0.95}}, 1, 0.7, 3600),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was promised and seen, for all series and weeks together."""

    name: str
    promised_a_week: float
    promised: float
    seen: int
    holds: bool


HISTORY = "history of four weeks"


class Stream:
    """One series: cumulative samples, sum and sum of squares by round; windows are differences."""

    def __init__(self, per_round: float, levels: Sums, metric: str, rng: Any) -> None:
        self._kind, rounds = METRICS[metric].kind, len(levels)
        samples = rng.poisson(per_round * (levels if self._kind is Kind.COUNT else 1.0), rounds)
        if self._kind is Kind.COUNT:
            total = square = samples.astype(float)
        elif self._kind is Kind.RATE:
            total = square = rng.binomial(samples, levels).astype(float)
        else:
            total = samples * levels + rng.normal(0, 0.2, rounds) * np.sqrt(samples)
            spread = 0.04 * rng.chisquare(np.maximum(samples - 1, 0) + 1e-12)
            square = np.where(samples > 0, total**2 / np.maximum(samples, 1) + spread, 0.0)
        self._sums = [np.concatenate([[0.0], np.cumsum(each)]) for each in (samples, total, square)]

    def seen(self, last: int, length: int) -> Observation | None:
        """The window of ``length`` rounds that ends with round ``last``."""
        if last - length + 1 < 0:
            return None
        n, total, square = (float(each[last + 1] - each[last + 1 - length]) for each in self._sums)
        count = int(n)
        if not count:
            return None
        if self._kind is Kind.COUNT:
            return Observation({}, n, count)
        if self._kind is Kind.RATE:
            return Observation({}, total / n, count, *wilson(min(total, n), n))
        mean = total / n
        error = Z95 * sqrt(max(0.0, square / n - mean * mean) / max(1, n - 1))
        return Observation({}, mean, count, mean - error, mean + error)


def run(case: Case, weeks: float, series: int, rng: np.random.Generator) -> Outcome:
    """Play ``case`` and compare."""
    rule = Rule.model_validate({"alert": "R", "metric": "refusal_rate", **WHO} | case.rule)
    warm = int(_memory(rule).total_seconds() / case.every_s) + 1
    rounds = int(weeks * WEEK_S / case.every_s)
    pages = sum(_pages(case, rule, warm, rounds, rng) for _ in range(series))
    if case.promised_at is not None:
        promised = at_level(rule, case.promised_at, rule.needed, case.every_s)
    else:
        found = expected(rule, Detectors(), case.every_s).per_week
        assert found is not None
        promised = found
    total = promised * weeks * series
    return Outcome(case.name, promised, total, pages, bool(poisson.sf(pages - 1, total) > 1e-3))


def remember(repeat: int, rng: np.random.Generator) -> Outcome:
    """The bound from four weeks of a sum's own history, held against the true pages a week, ``repeat`` times.

    It is a 95 % bound, so it may be too low in one of twenty; ``promised`` and ``seen`` count those.
    """
    rule = Rule.model_validate({"alert": "R", "metric": "cost_usd", "window": "1h", "above": 3.0, **WHO})
    prior = expected(rule, Detectors(), 3600)
    span = Window(START, START + timedelta(weeks=4))
    often = norm.sf(3.0) * norm.cdf(3.0) * WEEK_S / 3600  # of independent hours: beyond, after one that was not
    low = 0
    for _ in range(repeat):
        past = [
            Round(START + timedelta(hours=i), {"R": [Reading({}, Observation({}, float(x), 100))]})
            for i, x in enumerate(rng.normal(size=4 * 168))
        ]
        fired = sum(each.notice is Notice.FIRE for each in play([rule], past))
        most = remembered(rule, prior, fired, past, span).per_week
        low += most is not None and most < often
    return Outcome(HISTORY, 0.05 * repeat, 0.05 * repeat, low, bool(binom.sf(low - 1, repeat, 0.05) > 1e-3))


def _memory(rule: Rule) -> timedelta:
    if rule.compare and rule.compare.offset:
        return rule.compare.offset + rule.window
    if rule.trend:
        return rule.trend.step * rule.trend.steps
    return max(rule.slo.windows()) if rule.slo else rule.window


def _pages(case: Case, rule: Rule, warm: int, rounds: int, rng: np.random.Generator) -> int:
    per_round = case.per_minute * case.every_s / 60

    def stream(level: Callable[[int], float]) -> Stream:
        levels = np.asarray([level(i) for i in range(warm + rounds)])
        return Stream(per_round, levels * _odd(case, warm + rounds, rng), rule.metric, rng)

    now = stream(_line(case, rule, warm))
    before = [stream(lambda i: case.before or case.level) for _ in range(rule.weeks or bool(rule.compare))]
    states: dict[str, AlertState] = {}
    pages = 0
    for i in range(warm, warm + rounds):
        at = START + timedelta(seconds=i * case.every_s)
        states, changes = evaluate([rule], {"R": [_reading(case, rule, now, before, i)]}, states, at)
        pages += sum(each.notice is Notice.FIRE for each in changes)
    return pages


def _odd(case: Case, rounds: int, rng: np.random.Generator) -> Sums:
    """How many times its usual level a week is at in each round."""
    length = int(case.lasting.total_seconds() / case.every_s)
    found: Sums = np.exp(case.spread * rng.normal(size=rounds // length + 1)).repeat(length)[:rounds]
    return found


def _line(case: Case, rule: Rule, warm: int) -> Callable[[int], float]:
    """The level by round; under a trend it falls as fast all the time as the rule still takes."""
    if not rule.trend:
        return lambda i: case.level
    share = rule.trend.limit ** (1 / (rule.trend.step * (rule.trend.steps - 1)).total_seconds())
    return lambda i: case.level * share ** (i * case.every_s)


def _reading(case: Case, rule: Rule, now: Stream, before: Sequence[Stream], last: int) -> Reading:
    def rounds(length: timedelta) -> int:
        return max(1, int(length.total_seconds() / case.every_s))

    if rule.slo:
        parts: Iterator[Observation | None] = (now.seen(last, rounds(each)) for each in rule.slo.windows())
        seen = tuple(parts)
        return Reading({}, seen[0], parts=seen)
    if rule.trend:
        step = rounds(rule.trend.step)
        seen = tuple(now.seen(last - back * step, step) for back in range(rule.trend.steps - 1, -1, -1))
        return Reading({}, seen[-1], parts=seen)
    length = rounds(rule.window)
    earlier = tuple(each.seen(last, length) for each in before)
    if rule.compare and rule.compare.offset:
        return Reading({}, now.seen(last, length), earlier[0])
    return Reading({}, now.seen(last, length), parts=earlier)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; exits with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=float, default=4)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(given.seed)
    found = []
    for case in CASES:
        if given.only in case.name:
            found.append(run(case, given.weeks, given.series, rng))
            if not given.json:
                sys.stdout.write(_shown(found[-1], given.weeks * given.series))
    if given.only in HISTORY:
        found.append(remember(100, rng))
        if not given.json:
            each = found[-1]
            sys.stdout.write(f"{HISTORY:<28} too low in {each.seen} of 100, 5 are allowed: {_word(each)}\n")
    if given.json:
        sys.stdout.write(json.dumps([asdict(each) for each in found]) + "\n")
    sys.exit(not all(each.holds for each in found))


def _shown(each: Outcome, weeks: float) -> str:
    seen = f"seen {each.seen / weeks:8.3g} ({each.seen} pages)"
    return f"{each.name:<28} at most {each.promised_a_week:8.3g} a week, {seen}: {_word(each)}\n"


def _word(each: Outcome) -> str:
    return "holds" if each.holds else "BROKEN"


if __name__ == "__main__":
    main()

"""All of it for one model, as numbers with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from scipy.stats import binomtest

from tidegauge.config import Watch
from tidegauge.detectors.calibrate.hours import Sequential, sequential
from tidegauge.detectors.calibrate.replay import TREND, Counts, Power, Replay, replay
from tidegauge.detectors.sequential.family import HOURS_A_MONTH, Family
from tidegauge.detectors.sequential.rollups import Hours
from tidegauge.detectors.traffic import Traffic

HOURS_A_WEEK = 168
PLACES = ("anywhere", "traffic", "slices")


@dataclass(frozen=True)
class Rate:
    """A share of ``of`` cases, with the 95 % Clopper-Pearson interval."""

    hits: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """0 to 1 where there is no case."""
        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.hits, self.of).proportion_ci(0.95)
        return float(found.low), float(found.high)

    def as_json(self, times: float = 1.0) -> dict[str, Any]:
        """Share and interval, each times ``times``."""
        low, high = self.interval
        share = self.hits / self.of if self.of else None
        shown = None if share is None else round(share * times, 4)
        return {
            "hits": self.hits,
            "of": self.of,
            "value": shown,
            "low": round(low * times, 4),
            "high": round(high * times, 4),
        }


@dataclass(frozen=True)
class Calibration:
    """What was replayed of one model; ``hours`` by family. ``problem`` says why windows could not be."""

    model: str
    watch: Watch
    replay: Replay | None
    problem: str
    hours: Mapping[str, Sequential]

    @property
    def windows_a_week(self) -> float:
        """Evaluations in a week."""
        return HOURS_A_WEEK / self.watch.step_hours

    def as_json(self) -> dict[str, Any]:
        """Everything, for `--json`."""
        found = self.replay
        return {
            "model": self.model,
            "window_hours": self.watch.window_hours,
            "step_hours": self.watch.step_hours,
            "false_discovery_rate": self.watch.false_discovery_rate,
            "problem": self.problem,
            "whole_windows": self._counts(found.whole) if found else None,
            "windows_of_drawn_days": self._counts(found.drawn) if found and found.drawn.windows else None,
            "power": [self._power(*key, each) for key, each in found.power.items()] if found else [],
            "slow_trend": self._trend(found.trends) if found else None,
            "sequential": {name: _sequential(each) for name, each in self.hours.items()},
        }

    def _counts(self, counts: Counts) -> dict[str, Any]:
        alarmed = {name: Rate(counts.alarmed.get(name, 0), counts.windows) for name in PLACES}
        return {
            "windows": counts.windows,
            "windows_with_an_alarm": {name: rate.as_json() for name, rate in alarmed.items()},
            "alarmed_windows_a_week": {name: rate.as_json(self.windows_a_week) for name, rate in alarmed.items()},
            "by_detector": [
                {"detector": detector, "in": part, **Rate(counts.found.get((detector, part), 0), tests).as_json()}
                for (detector, part), tests in sorted(counts.tests.items())
            ],
        }

    def _power(self, kind: str, size: float, power: Power) -> dict[str, Any]:
        """Hours to a finding: windows are taken as independent, so the mean number of them is 1 / power."""
        share = power.found / power.tried if power.tried else 0.0
        hours = round(self.watch.step_hours / share, 1) if share else None
        detectors = {name: round(hits / power.tried, 4) for name, hits in sorted(power.by_detector.items())}
        rate = Rate(power.found, power.tried).as_json()
        return {"shift": kind, "size": size, "power": rate, "mean_hours": hours, "by_detector": detectors}

    def _trend(self, trends: list[int]) -> dict[str, Any]:
        found = [each for each in trends if each]
        middle = float(np.median(found)) if found else None
        course = f"a mean that moves by {TREND[-1]:g} deviation in {len(TREND)} windows"
        return {"course": course, "found": Rate(len(found), len(trends)).as_json(), "median_windows": middle}


def _sequential(hours: Sequential) -> dict[str, Any]:
    months = hours.hours / HOURS_A_MONTH
    high = _poisson_limit(hours.pages) / months
    return {
        "streams": hours.streams,
        "weeks_of_history": hours.weeks,
        "months_replayed": round(months, 2),
        "false_pages": hours.pages,
        "false_pages_a_month": {
            "value": round(hours.pages / months, 3),
            "at_most": round(high, 3),
            "wanted": hours.wanted,
        },
        "delays": [
            {
                "change": each.change,
                "found": Rate(each.found, each.streams).as_json(),
                "median_hours": each.median_h if isfinite(each.median_h) else None,
            }
            for each in hours.delays
        ],
    }


def _poisson_limit(count: int) -> float:
    """The upper end of the 95 % interval of a Poisson mean (Garwood 1936)."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.975, 2 * (count + 1)) / 2)


def calibrate(
    model: str,
    traffic: Traffic | None,
    watch: Watch,
    kind: str,
    families: Mapping[str, tuple[Family, Hours]],
    pages: float,
    draws: int,
    rng: np.random.Generator,
) -> Calibration:
    """Replay the windows of ``traffic``, a reference of ``kind``, and the hours of ``families``, both optional.

    ``pages`` is the wanted number of false pages a month of a family; ``draws`` the windows of drawn days a group.
    """
    problem, found = "", None
    try:
        found = replay(traffic or Traffic(0), watch, kind, draws, rng)
    except ValueError as error:
        problem = str(error)
    replayed = {}
    for name, (family, known) in families.items():
        floors, log_a = (each[: len(known.streams)] for each in family.limits)
        replayed[name] = sequential(known, floors, log_a, pages, rng)
    return Calibration(model, watch, found, problem, {name: each for name, each in replayed.items() if each})

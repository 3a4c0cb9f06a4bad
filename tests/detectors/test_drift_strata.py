"""Drift that is a change of mix is told from drift within the segments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from drift_stream import Row, Stream, day, drifts, loop, one

from tidegauge.config import Reference, Watch
from tidegauge.detectors.finding import Claim, Finding, Verdict
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.statistics import Result
from tidegauge.detectors.strata import explained
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.model import ALL
from tidegauge.store import Store

BY_PORT = Reference(kind="training", context=("port",))


def by_port(row: Row, rng: np.random.Generator) -> None:
    """In port CC people are older, have another plan, and one income in four is missing."""
    if row["slices"]["port"] == "CC":
        row["features"]["age"] += 30
        row["categories"]["plan"] = "team"
        if rng.random() < 0.25:
            row["features"]["income"] = float("nan")


def evaluated(store: Store, shares: Sequence[float], **changes: Any) -> list[Finding]:
    """The findings of a day on which the ports have these shares, else all is as in training."""
    stream = Stream(store)
    training = stream.rows([day(-30) + timedelta(seconds=at) for at in range(4000)], "training")
    today = stream.rows([day(0) + timedelta(seconds=at * 40) for at in range(2000)])
    for row in today:
        row["slices"]["port"] = str(stream.rng.choice(["AA", "BB", "CC", "DD"], p=shares))
    for row in [*training, *today]:
        by_port(row, stream.rng)
    stream.insert([*training, *today])
    return loop(store, reference=BY_PORT, **changes).run(day(1.1))


def test_a_change_of_mix_alone_is_said_to_explain_what_it_moved(store: Store) -> None:
    findings = evaluated(store, [0.2, 0.2, 0.6, 0.0])
    moved = {(feature, detector) for feature, detector, part in drifts(findings) if not part}
    assert {("age", "psi"), ("age", "ks"), ("plan", "chi_squared"), ("income", "missing")} <= moved
    for feature, detector in moved:
        assert one(findings, feature, detector).reason.startswith("explained by the mix of port: "), (feature, detector)


def test_a_change_within_the_segments_is_said_to_be_within_them(store: Store) -> None:
    stream = Stream(store)
    stream.training()
    stream.days(0, 1, lambda row, _: row["features"].update(age=row["features"]["age"] + 20))
    findings = loop(store, reference=BY_PORT).run(day(1.1))
    assert {"psi", "ks", "wasserstein"} <= {detector for _, detector, part in drifts(findings) if not part}
    assert one(findings, "age", "ks").reason.startswith("within segments of port: ")


def test_a_segment_that_is_new_is_part_of_the_mix_and_named(store: Store) -> None:
    def in_a_new_port(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.4:
            row["slices"]["port"] = "DD"
            row["features"]["age"] += 50

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, in_a_new_port)
    found = one(loop(store, reference=BY_PORT).run(day(1.1)), "age", "psi")
    assert found.reason.startswith("explained by the mix of port: ")
    share = float(found.reason.split("left, ")[1].split(" %")[0])
    assert share == pytest.approx(40, abs=7)
    assert "segments new to the reference" in found.reason


def columns(rng: np.random.Generator, shares: Sequence[float], means: Sequence[float], rows: int = 3000) -> Profile:
    """x with a mean for each of the segments, which a and b together make."""
    at = rng.choice(4, rows, p=shares)
    names = Category((at % 2).astype(np.int32), ("u", "v")), Category((at // 2).astype(np.int32), ("w", "x"))
    x = rng.normal(np.array(means)[at], 1)
    return Profile(Traffic(rows, {"x": x}, {}, {"a": names[0], "b": names[1]}))


def drift_of(effect: float) -> list[Claim]:
    result = Result("ks", effect, 1e-9, effect, 0.1, 3000, 3000)
    return [Claim("x", "ks", ALL, Verdict.DRIFT, result, 1e-9)]


def test_two_dimensions_make_segments_together(rng: np.random.Generator) -> None:
    means = (0.0, 3.0, 3.0, 0.0)
    before, now = columns(rng, [0.25] * 4, means), columns(rng, [0.45, 0.05, 0.05, 0.45], means)
    (both,) = explained(drift_of(0.4), before, now, ("a", "b"))
    (one_of_them,) = explained(drift_of(0.4), before, now, ("a",))
    assert both.reason.startswith("explained by the mix of a and b")
    assert one_of_them.reason.startswith("within segments of a: "), "the shares of u and v did not change"


def test_of_no_common_segment_nothing_is_said(rng: np.random.Generator) -> None:
    before, now = columns(rng, [1, 0, 0, 0], [0] * 4), columns(rng, [0, 1, 0, 0], [2] * 4)
    (claim,) = explained(drift_of(0.4), before, now, ("a", "b"))
    assert claim.reason == ""


@pytest.mark.parametrize("seed", range(8))
def test_what_the_mix_does_not_explain_is_chance_in_samples_of_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = (0.0, 1.0, 2.0, 3.0)
    before, now = columns(rng, [0.4, 0.3, 0.2, 0.1], means, 2000), columns(rng, [0.1, 0.2, 0.3, 0.4], means, 800)
    (claim,) = explained(drift_of(0.35), before, now, ("a", "b"))
    assert claim.reason.startswith("explained by the mix of a and b")


def test_context_must_be_among_the_slices() -> None:
    with pytest.raises(ValueError, match="context names tenant, which slices does not list"):
        Watch(reference=Reference(context=("tenant",)), slices=("port",))
    Watch(reference=Reference(context=("version", "port")), slices=("port",))

"""Rows one by one: as seldom wrong as asked for, quick to find a change, the same in batches and after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest

from tidegauge.detectors.streaming import MeanDetector, RankDetector
from tidegauge.detectors.streaming.evidence import Evidence

Make = Callable[[], RankDetector | MeanDetector]
BOTH = pytest.mark.parametrize(
    "make",
    [
        lambda: RankDetector(500, rng=np.random.default_rng(3), memory=300),
        lambda: MeanDetector(0.5, tolerance=0.02, rows_between_false_alarms=500),
    ],
    ids=["ranks", "mean"],
)


def changed(rng: np.random.Generator) -> np.ndarray:
    """From 0 to 1, with a rise, a fall, ties, and rows that are no numbers."""
    rows = np.concatenate([rng.beta(a, b, 400).round(2) for a, b in ((5, 5), (8, 4), (3, 9))])
    rows[rng.integers(len(rows), size=60)] = np.nan
    rows[rng.integers(len(rows), size=5)] = np.inf
    return rows


@pytest.mark.parametrize("law", ["normal", "cauchy", "few values", "constant"])
def test_false_alarms_of_ranks_are_as_rare_as_asked_for_whatever_the_law(rng: np.random.Generator, law: str) -> None:
    rows = {
        "normal": rng.normal(size=30_000),
        "cauchy": rng.standard_cauchy(30_000),
        "few values": rng.poisson(0.3, 30_000).astype(float),
        "constant": np.full(30_000, 7.0),
    }[law]

    alarms = RankDetector(500, rng=rng, memory=1_000).update_many(rows)

    # 60 would be one in 500 rows; of as many that come by themselves, 95 is more than four deviations above
    assert len(alarms) < 95


def test_false_alarms_of_a_mean_are_as_rare_as_asked_for_though_rows_depend_on_each_other(
    rng: np.random.Generator,
) -> None:
    luck, rows, before = rng.random(30_000), np.empty(30_000), 0.0
    for at in range(len(rows)):  # the law of a row follows from the one before, its mean does not
        width = 0.5 if before > 0.5 else 0.05
        before = rows[at] = 0.5 + width * (2 * luck[at] - 1)

    alarms = MeanDetector(0.5, rows_between_false_alarms=500).update_many(rows)

    assert len(alarms) < 95


@pytest.mark.parametrize(
    ("shift", "spread", "change", "most"),
    [(1.0, 1.0, "up", 60), (-1.0, 1.0, "down", 60), (0.0, 3.0, "wider", 80), (0.0, 0.2, "narrower", 80)],
)
def test_a_change_is_found_soon_named_and_dated(
    rng: np.random.Generator, shift: float, spread: float, change: str, most: int
) -> None:
    delays, dated, named = [], [], []
    for _ in range(20):
        detector = RankDetector(1e6, rng=rng)
        assert detector.update_many(rng.normal(size=1_000)) == []
        first = detector.update_many(rng.normal(shift, spread, 500))[0]
        assert first.log10_e >= 6
        named.append(first.change == change)
        delays.append(first.row - 1_000)
        dated.append(abs(first.since - 1_001))

    assert sum(named) >= 15  # a few far rows on one side can look like a shift at first
    assert np.mean(delays) < most
    assert np.median(dated) < 15


def test_a_rise_of_errors_is_found_and_a_fall_is_not_where_only_rises_matter(rng: np.random.Generator) -> None:
    up = MeanDetector(0.1, tolerance=0.02, direction="up")

    quiet = up.update_many(rng.random(3_000) < 0.02)
    (first, *_) = up.update_many(rng.random(600) < 0.4)

    assert quiet == [] and first.change == "up"
    assert first.row - 3_000 < 150 and abs(first.since - 3_001) < 150  # of 300 the latest came after 92


def test_what_lies_within_tolerance_is_never_evidence_however_long_it_lasts(rng: np.random.Generator) -> None:
    detector = MeanDetector(0.1, tolerance=0.05, rows_between_false_alarms=1e6)

    assert detector.update_many(rng.random(100_000) < 0.13) == []


@BOTH
def test_rows_one_by_one_in_batches_and_over_a_restart_give_the_same_alarms(
    make: Make, rng: np.random.Generator
) -> None:
    rows = changed(rng)
    at_once, one_by_one, stopping = make(), make(), make()

    whole = at_once.update_many(rows)
    single = [alarm for row in rows.tolist() if (alarm := one_by_one.update(row))]
    stopped = []
    for start in range(0, len(rows), 77):
        stopped += stopping.update_many(rows[start : start + 77])
        stopping = type(stopping).from_json(stopping.to_json())

    assert len(whole) >= 2
    for other in (single, stopped):
        assert [(a.row, a.since, a.change) for a in other] == [(a.row, a.since, a.change) for a in whole]
        assert [a.log10_e for a in other] == pytest.approx([a.log10_e for a in whole])
    for detector in (at_once, one_by_one, stopping):
        assert detector.rows == len(rows) and detector.left_out == int(np.sum(~np.isfinite(rows)))


@BOTH
def test_the_state_is_json_and_bounded(make: Make, rng: np.random.Generator) -> None:
    detector = make()
    detector.update_many(rng.random(300))
    small = len(detector.to_json())
    detector.update_many(rng.random(20_000))

    state = detector.to_json()

    assert len(state) < small * 1.2 + 200
    json.loads(state, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_after_a_change_the_new_law_is_the_usual_one(rng: np.random.Generator) -> None:
    detector = RankDetector(1e5, rng=rng)
    detector.update_many(rng.normal(size=500))
    detector.update_many(rng.normal(3, 1, size=100))

    assert detector.update_many(rng.normal(3, 1, size=5_000)) == []


def test_the_recursion_is_that_of_shiryaev_and_roberts(rng: np.random.Generator) -> None:
    factors = rng.normal(-0.1, 0.6, (300, 3))
    m, k, began = np.zeros(3), np.zeros(3), np.ones(3)
    for at, each in enumerate(np.exp(factors), 1):
        began = np.where(k <= 1, at, began)
        m, k = each * (1 + m), each * np.maximum(1, k)

    whole, nothing = Evidence.start(3).after(factors, log(1e12))
    stepped = Evidence.start(3)
    for each in factors:
        stepped, _ = stepped.step(each, log(1e12))
    middle = float(np.exp(whole.sums).mean())
    _, crossing = Evidence.start(3).after(factors, log(middle / 2))

    assert nothing is None and crossing is not None and exp(crossing.log_e) >= middle / 2
    for evidence in (whole, stepped):
        assert np.exp(evidence.sums) == pytest.approx(m)
        assert np.exp(evidence.chains) == pytest.approx(k)
        assert evidence.began.tolist() == began.tolist() and evidence.rows == 300


def test_an_order_is_all_that_ranks_need(rng: np.random.Generator) -> None:
    rows = np.concatenate([rng.normal(size=300), rng.normal(1, 1, 100)])
    plain, bent = (RankDetector(1_000, rng=np.random.default_rng(1)) for _ in range(2))

    assert plain.update_many(rows) == bent.update_many(np.exp(3 * rows))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: RankDetector(1, rng=np.random.default_rng()),
        lambda: RankDetector(float("nan"), rng=np.random.default_rng()),
        lambda: RankDetector(rng=np.random.default_rng(), memory=3),
        lambda: RankDetector(rng=np.random.default_rng(), direction="sideways"),  # type: ignore[arg-type]
        lambda: MeanDetector(1.5),
        lambda: MeanDetector(0.5, tolerance=0.5),
        lambda: MeanDetector(0.5, tolerance=-1),
        lambda: MeanDetector(0.5, rows_between_false_alarms=0),
        lambda: MeanDetector.from_json("{}"),
        lambda: RankDetector.from_json("nonsense"),
        lambda: RankDetector.from_json('{"kind": "rank detector"}'),
        lambda: RankDetector.from_json(MeanDetector(0.5).to_json()),
        lambda: RankDetector(rng=np.random.default_rng()).update_many(["a"]),
        lambda: RankDetector(rng=np.random.default_rng()).update_many(np.zeros((2, 2))),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        wrong()


def test_rows_outside_the_bounds_are_refused_before_any_is_taken_in() -> None:
    detector = MeanDetector(0.0, low=-1, high=1)
    before = detector.to_json()

    with pytest.raises(ValueError, match=r"between -1\.0 and 1\.0"):
        detector.update_many([0.5, 1.5])
    with pytest.raises(ValueError, match=r"between -1\.0 and 1\.0"):
        detector.update(-1.5)

    assert detector.to_json() == before

"""A rare name that becomes frequent: told once, by name, from rows, from counts and between two frames."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from drift_stream import Row, Stream, day, drifts, loop, one

from tidegauge.detectors.compare import compare
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.integrity import about_risen
from tidegauge.detectors.profile import CategoryPart, Profile
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.sketches.counts import OTHER, Counts, less
from tidegauge.detectors.sketches.profile import SketchProfile
from tidegauge.detectors.statistics import Outcome, Result
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.model import ALL
from tidegauge.store import Store

NAMES = {"frequent": 900, "rare": 5}


def result(p_value: float, effect: float = 1.0) -> Result:
    return Result("demo", effect, p_value, effect, 0.1, 1000, 1000)


def judged(name: str, *others: str, calm: tuple[str, ...] = (), shown: set[str] | None = None) -> dict[str, Claim]:
    """The claims where ``name`` rose, ``others`` drift too, and those of ``calm`` do not."""
    asked = [Hypothesis("shop", ALL, each, result(1e-9)) for each in others]
    asked += [Hypothesis("shop", ALL, each, result(0.9)) for each in calm]
    risen = about_risen("shop", ALL, NAMES, {"frequent": 800, name: 100}, apart=["frequent"])
    return {each.detector: each for each in judge([*asked, risen], 0.05, shown=shown)}


def test_by_itself_it_is_a_finding_with_its_shares_as_evidence() -> None:
    found = judged("rare", calm=("chi_squared", "new_categories"))["risen_category"]
    assert found.verdict is Verdict.DRIFT
    assert json.loads(found.evidence) == {
        "labels": ["rare"],
        "reference": [pytest.approx(5 / 905)],
        "current": [pytest.approx(1 / 9)],
    }


@pytest.mark.parametrize("name", ["rare", "unseen"])
def test_where_a_divergence_drifts_that_names_it(name: str) -> None:
    found = judged(name, "chi_squared", "psi")
    assert (found["risen_category"].verdict, found["risen_category"].reason) == (Verdict.STABLE, "told by chi_squared")
    assert found["chi_squared"].reason.startswith(f"risen: {name} (0")
    assert found["psi"].reason == "", "once is enough"


def test_an_unseen_name_is_told_by_the_test_of_new_ones_and_a_known_one_is_not() -> None:
    unseen = judged("unseen", "new_categories", calm=("chi_squared",))
    assert (unseen["risen_category"].verdict, unseen["new_categories"].reason) == (Verdict.STABLE, "")
    assert unseen["risen_category"].reason == "told by new_categories"
    known = judged("rare", "new_categories", calm=("chi_squared",))
    assert known["risen_category"].verdict is Verdict.DRIFT


def test_what_nobody_reads_has_told_nothing() -> None:
    found = judged("rare", "chi_squared", shown={"risen_category", "kl"})
    assert found["risen_category"].verdict is Verdict.DRIFT


def shops(rng: np.random.Generator, rows: int, names: int, risen: float = 0.0) -> list[str]:
    share = 1 / np.arange(10, names + 10)
    drawn = rng.choice(names, rows, p=share / share.sum())
    return [f"shop {at}" for at in np.where(rng.random(rows) < risen, names - 1, drawn)]


@pytest.mark.parametrize("names", [200, 5000])
def test_between_frames_it_is_named_once(rng: np.random.Generator, names: int) -> None:
    known = [f"shop {names - 1}"] * 2
    found = compare({"shop": shops(rng, 20_000, names) + known}, {"shop": shops(rng, 2000, names, risen=0.03)})
    naming = [each for each in found.to_polars().to_dicts() if f"shop {names - 1}" in each["reason"] + each["moved"]]
    assert [each["detector"] for each in naming if each["verdict"] == "drift"] == ["risen_category"]
    assert found.drifted == ("shop",)
    [row] = [each for each in found.rows() if each["detector"] == "risen_category"]
    assert row["moved"].startswith(f"shop {names - 1}: 0")


@pytest.mark.parametrize("names", [200, 5000])
def test_between_frames_of_one_law_nothing_rises(rng: np.random.Generator, names: int) -> None:
    for _ in range(5):
        found = compare({"shop": shops(rng, 5000, names)}, {"shop": shops(rng, 2000, names)}, false_discovery_rate=1e-5)
        assert found.drifted == ()


def test_of_few_frequent_names_it_is_not_asked(rng: np.random.Generator) -> None:
    plans = [rng.choice(["free", "pro"], 1000).tolist() for _ in range(2)]
    assert "risen_category" not in {each.detector for each in compare({"plan": plans[0]}, {"plan": plans[1]}).claims}


@pytest.mark.parametrize("rollups", ["off", "always"])
@pytest.mark.parametrize("names", [300, 3000])
def test_in_the_round_it_is_found_from_rows_and_from_counts(store: Store, names: int, rollups: str) -> None:
    stream = Stream(store)

    def put(row: Row, rng: np.random.Generator, risen: float = 0.0) -> None:
        row["categories"]["shop"] = "shop 7" if rng.random() < risen else f"shop {rng.integers(names)}"

    trained = stream.rows([day(-30) + timedelta(seconds=at) for at in range(6000)], "training")
    for row in trained:
        put(row, stream.rng)
    trained[0]["categories"]["shop"] = "shop 7"
    stream.insert(trained)
    stream.days(0, 1, put, rows=2000)
    stream.days(1, 2, lambda row, rng: put(row, rng, 0.04), rows=2000)
    findings = loop(store, rollups=rollups, slices=()).run(day(2.1))
    calm, risen = ([each for each in findings if each.window_end == day(at)] for at in (1, 2))
    assert drifts(calm) == set()
    found = one(risen, "shop", "risen_category")
    assert {each[1] for each in drifts(risen)} == {"risen_category"}
    assert found.reason.startswith("risen: shop 7 (")
    assert json.loads(found.evidence)["labels"] == ["shop 7"]


def test_counts_without_a_stretch_keep_its_unknown_names_among_the_others() -> None:
    whole = CategoryPart(1000, {"a": 600, "b": 100, OTHER: 300})
    left = less(whole, CategoryPart(400, {"a": 250, "b": 100, "c": 30, OTHER: 20}))
    assert (left.rows, left.counts) == (600, {"a": 350, OTHER: 250})


def test_thousands_of_names_that_are_alike_are_calm_from_counts(rng: np.random.Generator) -> None:
    def counted(rows: int) -> SketchProfile:
        column = Category(rng.integers(0, 3000, rows).astype(np.int32), tuple(f"n{at}" for at in range(3000)))
        traffic = Traffic(rows, {}, {"tail": column}, {})
        return SketchProfile(Counts.of(traffic, Binning.fit(Profile(Traffic(rows)), 3600, 5)))

    outcomes: list[Outcome] = []
    for _ in range(20):
        outcomes += [each.outcome for each in counted(30_000).about("tail", ALL, counted(20_000))]
    told = [each.p_value for each in outcomes if isinstance(each, Result) and each.p_value is not None]
    assert min(told) > 1e-6

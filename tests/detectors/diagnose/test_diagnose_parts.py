from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from world import REGIONS, World

from tidegauge.detectors.diagnose.case import Case
from tidegauge.detectors.diagnose.conversions import units
from tidegauge.detectors.diagnose.design import Design
from tidegauge.detectors.diagnose.features import categories
from tidegauge.detectors.diagnose.ranking import explains, rank
from tidegauge.detectors.diagnose.rows import Rows
from tidegauge.detectors.diagnose.signatures import Mark, Values, coarser, default_value, outliers, stuck
from tidegauge.detectors.diagnose.slices import search
from tidegauge.detectors.diagnose.text import as_text
from tidegauge.detectors.diagnose.turn import turns
from tidegauge.detectors.diagnose.verdict import Level, Stage, Verdict, part_text
from tidegauge.detectors.statistics.bins import NumericBins
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.model import Slice

Floats = NDArray[np.float64]
DAYS, A_DAY = 28, 300


def values(before: Floats, since: Floats) -> Values:
    days = np.arange(len(since)) // (len(since) // 5 + 1)
    usual = 0.08  # a distance that 4000 and 1000 values of one kind exceed once in 10,000
    return Values(before, since, days, np.arange(len(since)) % 4, np.array(NumericBins.fit(before, 20).edges), usual)


@pytest.fixture
def usual(rng: np.random.Generator) -> Floats:
    return rng.normal(60, 15, 4000)


@pytest.fixture
def more(rng: np.random.Generator) -> Floats:
    return rng.normal(60, 15, 1000)


def test_each_mark_is_seen_and_none_of_them_where_nothing_happened(
    usual: Floats, more: Floats, rng: np.random.Generator
) -> None:
    filled = np.where(rng.random(1000) < 0.2, -99.0, more)
    far = np.where(rng.random(1000) < 0.02, more * 1000, more)

    def seen(since: Floats) -> Mark | None:
        marks = (check(values(usual, since)) for check in (stuck, outliers, units, default_value, coarser))
        return next((each for each in marks if each), None)

    found = {name: seen(each) for name, each in {"stuck": np.full(1000, 60.0), "filled": filled, "far": far}.items()}
    found |= {"celsius": seen((more - 32) / 1.8), "tens": seen(np.round(more / 10) * 10), "none": seen(more)}
    causes = {name: each.cause if each else None for name, each in found.items()}
    assert causes == {
        "stuck": "stuck",
        "filled": "default value",
        "far": "outliers",
        "celsius": "units",
        "tens": "precision lost",
        "none": None,
    }
    assert found["celsius"] is not None
    assert found["celsius"].evidence["conversion"] == "°F to °C"


def test_marks_are_seen_though_the_first_hours_of_the_fault_were_taken_for_hours_before(
    usual: Floats, more: Floats, rng: np.random.Generator
) -> None:
    far = np.where(rng.random(1000) < 0.02, more * 1000, more)
    filled = np.where(rng.random(1000) < 0.2, -99.0, more)

    assert outliers(values(np.append(usual, 60_000.0), far)) is not None
    assert default_value(values(np.append(usual, [-99.0] * 10), filled)) is not None


def test_a_warm_spell_beyond_all_that_was_seen_is_no_default(usual: Floats, more: Floats) -> None:
    row, top = np.arange(1000), float(usual.max())
    as_ever = np.minimum(more, top)

    assert default_value(values(usual, np.where(row % 8 == 0, top + 1 + row % 3, as_ever))) is None
    assert default_value(values(usual, np.where(row % 8 == 0, top + 1, as_ever))) is not None


def test_a_hot_afternoon_brings_one_reading_and_a_default_comes_at_night_as_well(usual: Floats, more: Floats) -> None:
    row = np.arange(1000)
    hot, filled = np.where(row % 4 == 3, 60.5, more), np.where(row // 4 % 4 == 0, 60.5, more)

    assert default_value(values(usual, hot)) is None
    assert default_value(values(usual, filled)) is not None


def test_a_default_far_outside_of_all_is_one_though_the_season_brings_others_beyond_what_was_seen(
    usual: Floats, more: Floats
) -> None:
    row, low = np.arange(1000), float(usual.min())
    colder = np.where(row % 20 == 0, low - 5 - row % 7, np.maximum(more, low))

    far, beside = (np.where(row // 4 % 7 == 0, each, colder) for each in (-200.0, low - 1))

    assert default_value(values(usual, far)) is not None
    assert default_value(values(usual, beside)) is None


def test_what_comes_with_rows_of_others_is_no_default_in_a_part(rng: np.random.Generator) -> None:
    own, others = rng.choice(np.array([137.0, 140, 143]), 4000), rng.choice(np.array([20.0, 90, 189, 330]), 1000)
    joined = np.where(np.arange(1000) // 4 % 6 == 0, 55.0, others)

    assert default_value(replace(values(own, joined), narrow=True, usual=1.0)) is None
    filled = np.where(joined == 55.0, joined, 140.0)
    assert default_value(replace(values(own, filled), narrow=True, usual=1.0)) is not None


def test_what_is_one_value_for_more_than_half_of_all_loses_no_precision_by_a_spell_without_the_others(
    rng: np.random.Generator,
) -> None:
    hazy = rng.choice(np.array([0.25, 0.5, 1.5, 2.5, 4, 5, 6, 7, 8, 9]), 4000)
    before = np.where(rng.random(4000) < 0.8, 10.0, hazy)
    clear = np.where(rng.random(1000) < 0.9, 10.0, rng.choice(np.array([7.0, 8, 9]), 1000))
    rounded = np.where(rng.random(1000) < 0.8, 10.0, np.round(rng.choice(hazy, 1000) / 10) * 10)

    row = np.arange(8000)
    shower = np.where(row % 200 == 0, 0.07 + row % 400 / 10_000, 0.0)  # in few rows of many, and on no grid
    dry = np.where(rng.random(4000) < 0.9, 0.0, rng.choice(np.arange(1, 50) / 100, 4000))

    assert coarser(values(before, clear)) is None
    assert coarser(values(dry, shower)) is None
    found = coarser(values(before, rounded))
    assert found is not None
    assert found.evidence["grid"] == 10.0


def columns(rng: np.random.Generator) -> tuple[NDArray[np.int64], dict[str, Category]]:
    rows = DAYS * A_DAY
    country = Category(rng.integers(0, 6, rows).astype(np.int32), tuple("abcdef"))
    device = Category(rng.integers(0, 3, rows).astype(np.int32), ("phone", "desk", "tv"))
    return np.repeat(np.arange(DAYS), A_DAY), {"country": country, "device": device}


def test_the_search_finds_the_pair_in_which_the_loss_rose(rng: np.random.Generator) -> None:
    slots, dimensions = columns(rng)
    weather = np.repeat(rng.normal(0, 0.2, DAYS), A_DAY)
    there = (dimensions["country"].codes == 2) & (dimensions["device"].codes == 0) & (slots >= 21)
    loss = rng.normal(1, 0.5, len(slots)) + weather + there * 1.0

    best = search(loss, slots, 21, dimensions, rng, fewest=50)[0]

    assert set(best.part) == {Slice("country", "c"), Slice("device", "phone")}
    assert best.p_value <= 0.01
    middle, half = (best.low + best.high) / 2, (best.high - best.low) / 2
    assert abs(middle - 1.0) < 2.5 * half, "a 95 % interval leaves the truth out one time in 20, by so much never"


def test_the_search_holds_its_error_rate_over_all_parts_and_days_that_hang_together(rng: np.random.Generator) -> None:
    slots, dimensions = columns(rng)
    alarms = 0
    for _ in range(60):
        weather = np.repeat(rng.normal(0, 0.3, DAYS), A_DAY)
        found = search(rng.normal(1, 0.5, len(slots)) + weather, slots, 21, dimensions, rng, shuffles=100)
        alarms += found[0].p_value <= 0.05

    assert alarms <= 9, "0.05 of 60 is 3; more than 9 comes once in 1000"


def test_the_search_says_nothing_where_there_is_nothing_to_compare(rng: np.random.Generator) -> None:
    slots, dimensions = columns(rng)
    assert search(np.full(len(slots), np.nan), slots, 21, dimensions, rng) == []
    assert search(np.ones(len(slots)), slots, DAYS, dimensions, rng) == []
    assert search(np.ones(len(slots)), slots, 21, {}, rng) == []


def bad(cause: str, stage: Stage, *columns: str, part: Slice | None = None, strength: float = 4.0) -> Verdict:
    where = (part,) if part else ()
    return Verdict(cause, stage, Level.BAD, "", cause, "", where, strength, frozenset(columns))


def test_a_rare_value_never_seen_before_tells_the_hour_it_began() -> None:
    rng = np.random.default_rng(0)
    days, since = 50, 40
    rows = days * A_DAY
    seconds = np.sort(rng.uniform(0, days * 86_400, rows))
    filled = (seconds >= since * 86_400) & (rng.random(rows) < 0.02)
    sizes = np.where(filled, -1.0, rng.integers(1, 40, rows))
    traffic = Traffic(rows, {"size": sizes}, {}, {}, 1)
    ids, none = np.arange(1, rows + 1, dtype=np.uint64), Category(np.full(rows, -1, np.int32), ())
    stream = Rows(traffic, ids, seconds, none, np.full(rows, np.nan))

    clearest = turns(stream, datetime.fromtimestamp(days * 86_400, UTC))[0]

    assert clearest.by == "frequent value of size, -1"
    assert abs(clearest.at.timestamp() - float(seconds[filled].min())) <= 3600


def test_a_cause_ranks_by_what_it_explains_downstream_of_it_in_its_rows() -> None:
    unit = bad("units", Stage.DATA, "temp", part=Slice("origin", "JFK"))
    scores = bad("scores off", Stage.MODEL, "score", "prediction", "loss", strength=8)
    loss = bad("loss up", Stage.DOWNSTREAM, "loss", strength=30)
    elsewhere = bad("concept", Stage.CONCEPT, "loss", part=Slice("origin", "LGA"), strength=5)

    causes = rank([loss, scores, elsewhere, unit])

    assert [each.finding.cause for each in causes] == ["units", "concept"]
    assert causes[0].explains == (loss, scores)


def test_what_says_more_closely_explains_what_says_less_and_suspicion_explains_nothing() -> None:
    late, gone = bad("labels late", Stage.LOGGING, "label"), bad("labels missing", Stage.LOGGING, "label")
    vague = Verdict("features", Stage.DATA, Level.SUSPECT, "", "moved", "temp", (), 1.9, frozenset({"temp"}))

    assert explains(late, gone)
    assert not explains(gone, late)
    assert not explains(vague, bad("scores off", Stage.MODEL, "score"))


def test_a_cause_of_another_date_explains_nothing_and_comes_after_those_of_the_moment_asked_for() -> None:
    gap = replace(bad("missing", Stage.DATA, "pressure", strength=30), began=datetime(2026, 3, 4, tzinfo=UTC))
    grown = bad("part grew", Stage.LOGGING, "volume")
    loss = bad("loss up", Stage.DOWNSTREAM, "loss", strength=8)

    causes = rank([gap, grown, loss])

    assert [each.finding.cause for each in causes] == ["part grew", "loss up", "missing"]
    assert not explains(gap, loss)


def test_labels_that_are_late_explain_that_those_of_the_last_days_are_missing_and_not_the_other_way_round() -> None:
    late = bad("labels late", Stage.LOGGING, "label")
    gone = replace(bad("labels missing", Stage.LOGGING, "label"), began=datetime(2026, 3, 4, tzinfo=UTC))

    assert explains(late, gone)
    assert not explains(replace(late, began=gone.began), replace(gone, began=None))


def test_a_release_of_the_moment_comes_before_what_is_bad_since_another_and_before_consequences() -> None:
    storm = replace(bad("concept", Stage.CONCEPT, "loss"), began=datetime(2026, 3, 4, tzinfo=UTC))
    moved = replace(bad("moved", Stage.DATA, "temp", strength=1.9), level=Level.SUSPECT)
    release = replace(bad("new version", Stage.MODEL, "version", strength=1.9), level=Level.SUSPECT)

    causes = rank([storm, bad("decisions moved", Stage.DOWNSTREAM, "prediction"), moved, release])

    assert [each.finding.cause for each in causes] == ["new version", "decisions moved", "concept", "moved"]


def test_what_is_as_much_so_in_the_rows_that_a_cause_does_not_touch_is_not_explained() -> None:
    gap = bad("missing", Stage.DATA, "pressure")
    loss, here = bad("loss up", Stage.DOWNSTREAM, "loss"), Slice("origin", "JFK")

    assert explains(gap, loss)
    assert not explains(replace(gap, spared=frozenset({"loss up"})), loss)
    assert explains(replace(gap, spared=frozenset({"loss up"})), replace(loss, part=(here,)))


def test_a_part_that_grew_explains_what_is_found_in_it_alone() -> None:
    here, there = Slice("carrier", "9E"), Slice("carrier", "B6")
    grown = replace(bad("part grew", Stage.LOGGING, "volume", part=here), check="traffic mix")

    assert explains(grown, bad("missing", Stage.DATA, "seats", part=here))
    assert not explains(grown, bad("missing", Stage.DATA, "seats", part=there))
    assert not explains(grown, bad("missing", Stage.DATA, "seats"))


def with_traffic(case: Case, traffic: Traffic) -> Case:
    return replace(case, rows=replace(case.rows, traffic=traffic))


@pytest.mark.parametrize("stuck_in", [("south",), ("south", "west"), ()])
def test_a_category_that_is_stuck_in_one_part_is_told_with_that_part(stuck_in: tuple[str, ...]) -> None:
    made = World(np.random.default_rng(3))
    case = made.classes()
    plans = made.rng.integers(0, 3, made.rows).astype(np.int32)
    plans[made.since & np.isin(made.region, [REGIONS.index(each) for each in stuck_in])] = 1

    plan = {"plan": Category(plans, ("free", "paid", "trial"))}
    found = categories(with_traffic(case, replace(case.rows.traffic, categorical=plan)))

    said = [(each.cause, part_text(each.part)) for each in found if each.found]
    assert said == ([("stuck", "region=south")] if len(stuck_in) == 1 else [])


def test_a_rare_extreme_of_one_feature_does_not_spoil_what_the_others_foretell() -> None:
    made = World(np.random.default_rng(3))
    rain = np.zeros(made.rows)
    downpour = (made.seconds < made.seconds[0] + 6 * 86_400) & (made.seconds > made.seconds[0] + 5 * 86_400)
    rain[downpour] = made.rng.random(int(downpour.sum())) ** 4
    case = made.classes()
    numeric = {**case.rows.traffic.numeric, "rain": rain, "size": made.size + 3 * rain}
    case = with_traffic(case, replace(case.rows.traffic, numeric=numeric))

    explained = Design.of(case).residual(made.load + made.size**2, frozenset())[1]

    assert explained > 0.9


def test_names_from_telemetry_break_no_line_of_the_text() -> None:
    answer = {
        "headline": "m: stuck: \x1b[31mx\ny",
        "start": "2026-01-01T00:00:00+00:00",
        "since": "2026-01-02T00:00:00+00:00",
        "until": "2026-01-03T00:00:00+00:00",
        "how": "as asked",
        "wrong": False,
        "predictions": {"before": 1, "since": 1},
        "causes": [],
        "stages": [],
    }
    assert as_text(answer).splitlines()[0] == "m: stuck: ?[31mx?y"

"""Traffic whose windows differ anyway: the floor follows the reference's own windows, and a real change passes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from drift_stream import DAY0, Row, Stream, day, drifts, loop, one

from tidegauge.config import Reference, Watch
from tidegauge.detectors.drift import Parts, hypotheses
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.spread import MOST_WINDOWS, OwnWindows, Spread, Spreads
from tidegauge.detectors.statistics import Result
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.model import ALL, Slice, Window
from tidegauge.store import Store

WEEK, WATCH = timedelta(days=7), Watch(reference=Reference(kind="training"), window_hours=168, slices=("port",))
ROWS = 400
WEATHER = 6


def weeks(rng: np.random.Generator, number: int, first: int = 0, shift: float = 0.0, rows_each: int = ROWS) -> Traffic:
    """Each week has its own weather, shared by all of its rows and by both ports; timetable x does not move."""
    rows = number * rows_each
    spell = np.repeat(rng.normal(0, 1, (number, WEATHER)), rows_each, axis=0)
    columns = {f"weather{at}": spell[:, at] + rng.normal(size=rows) + shift * (at == 0) for at in range(WEATHER)}
    seconds = DAY0.timestamp() + 604_800 * (first + np.arange(rows) / rows_each)
    ports = Category(rng.integers(0, 2, rows).astype(np.int32), ("AA", "BB"))
    x = {"x": rng.normal(size=rows)}
    return Traffic(rows, columns | x, {}, {"port": ports}, 1, seconds.astype(np.int64))


def week(number: int) -> Window:
    return Window(DAY0 + WEEK * number, DAY0 + WEEK * (number + 1))


def evaluated(reference: Profile, current: Traffic, number: int, watch: Watch = WATCH) -> list[Claim]:
    now = Profile(current)
    asked = list(hypotheses(reference, now, Parts(reference, now, 50).tested))
    floors = Spreads().floors(reference, week(number), asked, watch, "training")
    return judge(asked, watch.false_discovery_rate, floors)


def drifting(claims: list[Claim]) -> set[tuple[str, str]]:
    return {(claim.feature, str(claim.part)) for claim in claims if claim.verdict is Verdict.DRIFT}


def test_weeks_with_their_own_weather_are_no_drift_more_often_than_stated(rng: np.random.Generator) -> None:
    rounds = 40
    found = [drifting(evaluated(Profile(weeks(rng, 12)), weeks(rng, 1, first=13), 13)) for _ in range(rounds)]
    everywhere = sum(any(part == "all" for _, part in each) for each in found)
    assert everywhere <= 8, f"{everywhere} of {rounds}: at the stated 5 % more than 8 in 1 run of 5000"


def test_without_floors_from_the_reference_every_such_week_is_drift(rng: np.random.Generator) -> None:
    watch = WATCH.model_copy(update={"floor_from_reference": False})
    for _ in range(5):
        found = drifting(evaluated(Profile(weeks(rng, 12)), weeks(rng, 1, first=13), 13, watch))
        assert len([feature for feature, part in found if part == "all"]) >= 3


def test_a_change_beyond_the_spread_is_found_and_says_where_its_floor_comes_from(rng: np.random.Generator) -> None:
    claims = evaluated(Profile(weeks(rng, 12)), weeks(rng, 1, first=13, shift=12.0), 13)
    (found,) = (c for c in claims if (c.feature, c.detector, c.part) == ("weather0", "wasserstein", ALL))
    assert found.verdict is Verdict.DRIFT
    assert isinstance(found.outcome, Result)
    assert found.outcome.note.startswith("floor from 12 reference windows")
    assert found.outcome.effect > found.outcome.floor > 0.5


@pytest.mark.parametrize(("rows", "most"), [(ROWS, 0.6), (20_000, 0.1)])
def test_what_never_moves_keeps_the_floor_of_its_statistic_but_for_chance(
    rng: np.random.Generator, rows: int, most: float
) -> None:
    claims = evaluated(Profile(weeks(rng, 12, rows_each=rows)), weeks(rng, 1, first=13, rows_each=rows), 13)
    (still,) = (c for c in claims if (c.feature, c.detector, c.part) == ("x", "wasserstein", ALL))
    assert isinstance(still.outcome, Result)
    assert still.outcome.floor <= most, "the distances of 400 rows are chance, which 20,000 make seven times smaller"


def test_too_few_windows_leave_the_floor_and_say_so(rng: np.random.Generator) -> None:
    claims = evaluated(Profile(weeks(rng, 3)), weeks(rng, 1, first=4), 4)
    (found,) = (c for c in claims if (c.feature, c.detector, c.part) == ("weather0", "ks", ALL))
    assert isinstance(found.outcome, Result)
    assert found.outcome.floor == 0.1
    assert "does not know the traffic's own spread: 3 of the 4" in found.outcome.note


def test_a_window_is_compared_with_the_rest_of_the_reference_without_it() -> None:
    low, high = np.zeros(1200), np.ones(300)
    seconds = np.concatenate([np.linspace(0, 1199, 1200), np.linspace(1200, 1499, 300)]) * 2016
    traffic = Traffic(1500, {"x": np.concatenate([low, high])}, {}, {}, 1, seconds.astype(np.int64))
    start = datetime(1970, 1, 8, tzinfo=UTC)
    spread = OwnWindows(Profile(traffic), Window(start, start + WEEK)).spread("x", ALL, "ks")
    assert len(spread.distances) == 5
    assert max(spread.distances) == pytest.approx(1.0, abs=0.01), "in the whole reference it would be 0.8"


def test_rows_without_a_time_or_all_at_once_have_no_windows(rng: np.random.Generator) -> None:
    for seconds in (None, np.full(500, 10**9), np.array([], dtype=np.int64)):
        rows = 500 if seconds is None else len(seconds)
        traffic = Traffic(rows, {"x": rng.normal(size=rows)}, {}, {}, 1, seconds)
        assert not OwnWindows(Profile(traffic), week(3)).spread("x", ALL, "psi").known


def test_of_many_windows_some_are_drawn_the_same_each_time(rng: np.random.Generator) -> None:
    rows = 200 * 60
    seconds = DAY0.timestamp() + 3600 * np.arange(rows) / 60
    traffic = Traffic(rows, {"x": rng.normal(size=rows)}, {}, {}, 1, seconds.astype(np.int64))
    window = Window(day(20), day(20) + timedelta(hours=1))
    first, second = (OwnWindows(Profile(traffic), window).spread("x", ALL, "ks") for _ in range(2))
    assert len(first.distances) == MOST_WINDOWS
    assert first == second


def test_one_more_window_of_normal_weather_passes_some_of_seven_floors_as_often_as_asked(
    rng: np.random.Generator,
) -> None:
    passed = 0
    for _ in range(400):
        sizes = np.abs(rng.normal(size=(13, 7)))
        floors = [Spread.of("wasserstein", sizes[:12, at].tolist()).floor(0.05 / 7) for at in range(7)]
        passed += bool(np.any(sizes[12] > floors))
    assert passed <= 36, f"{passed} of 400: at 5 % more than 36 in 1 run of 5000"


def test_windows_that_are_quiet_but_for_one_burst_give_an_uncertain_floor() -> None:
    bursts, even = [0.01] * 11 + [0.4], [0.1, 0.2, 0.3, 0.15, 0.05, 0.25]
    assert Spread.of("missing", bursts, end=1.0).uneven
    assert not Spread.of("missing", even, end=1.0).uneven
    assert Spread.of("missing", bursts, end=1.0).floor(0.01) > 0.4


@pytest.mark.parametrize("detector", ["psi", "ks", "wasserstein"])
@pytest.mark.parametrize("effects", [[0.0] * 4, [0.9, 0.1, 0.2, 0.1], [0.99] * 12])
def test_a_floor_is_at_least_the_largest_window_and_below_what_the_detector_can_give(
    detector: str, effects: list[float]
) -> None:
    floor = Spread.of(detector, effects, end=1.0).floor(1e-6)
    assert floor >= max(effects) - 1e-12
    assert floor < 1.0


def test_the_floor_of_a_trailing_reference_moves_with_it(store: Store) -> None:
    stream = Stream(store)
    swing = iter([0, 8, -8, 5, -5, 9, -9, 3, 6, -7])
    for number in range(10):
        step = next(swing)

        def move(row: Row, _: np.random.Generator, step: float = step) -> None:
            row["features"]["age"] += step

        stream.days(number, number + 1, move, rows=300)
    stream.days(10, 11, lambda row, _: row["features"].update(age=row["features"]["age"] + 60), rows=300)
    reference = Reference(kind="trailing", days=7, gap_days=0)
    findings = loop(store, reference=reference).run(day(11.1))
    calm = [each for each in findings if each.window_end == day(10)]
    last = [each for each in findings if each.window_end == day(11)]
    assert "floor from 7 reference windows" in one(calm, "age", "ks").reason
    assert one(calm, "age", "ks").verdict == "stable"
    assert ("age", "wasserstein", "") in drifts(last)


def test_drift_of_a_slice_says_whether_all_traffic_drifts_too() -> None:
    def asked(effect_in_all: float) -> list[Hypothesis]:
        results = {part: Result("ks", e, 1e-9, e, 0.1, 900, 900) for part, e in ((ALL, effect_in_all), (PORT, 0.5))}
        return [Hypothesis("x", part, "ks", result) for part, result in results.items()]

    also, alone = (judge(asked(effect), 0.05)[1] for effect in (0.5, 0.01))
    assert (also.reason, alone.reason) == ("also in all traffic", "not in all traffic")


PORT = Slice("port", "AA")


def test_distances_of_fewer_than_thirty_values_are_undetermined(store: Store) -> None:
    def few(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < 0.99:
            del row["features"]["age"]

    stream = Stream(store)
    stream.training()
    stream.days(0, 1, few)
    findings = loop(store).run(day(1.1))
    for detector in ("ks", "wasserstein"):
        found = one(findings, "age", detector)
        assert (found.verdict, found.reason) == ("undetermined", "fewer than 30 values")
    assert one(findings, "age", "missing").verdict == "drift"

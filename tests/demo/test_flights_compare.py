"""The comparison of what is found with what is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np
import polars as pl
import pytest

from tidegauge.demo.flights import data
from tidegauge.demo.flights.compare import by_feature, mark
from tidegauge.demo.flights.faults import parse_fault
from tidegauge.demo.flights.replay import replay
from tidegauge.demo.flights.stream import Day, FlightsStream
from tidegauge.demo.settings import FLIGHTS_WATCH
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.store import Store

FAULT = "missing:seats:JFK@2013-04-09"
START = datetime(2013, 4, 4, tzinfo=UTC)
WEEK = timedelta(days=7)


class ThreeWeeks(FlightsStream):
    """The year until April 25, UTC."""

    def days(self) -> Iterator[Day]:
        return islice(super().days(), 25)


@pytest.fixture(scope="module")
def stream() -> FlightsStream:
    return ThreeWeeks(sample=0.3)


def finding(week: int, feature: str, verdict: Verdict = Verdict.DRIFT, origin: str = "", times: float = 2) -> Finding:
    start = START + WEEK * week
    return Finding(
        evaluated_at=start + WEEK,
        finding_id=f"{week}-{feature}-{origin}",
        subject="flight-delay",
        feature=feature,
        detector="missing",
        dimension="origin" if origin else "",
        slice=origin,
        reference="training",
        reference_start=START - WEEK * 13,
        reference_end=START,
        window_start=start,
        window_end=start + WEEK,
        verdict=verdict,
        effect=0.1 * times,
        effect_floor=0.1,
        since=start,
    )


def test_a_fault_is_marked_in_its_slice_with_its_place_among_what_drifts() -> None:
    found = [finding(0, "seats", origin="JFK"), finding(1, "temp", times=9), finding(1, "seats", times=3)]
    found += [finding(1, "seats", origin="JFK", times=4), replace(finding(1, "dest", times=7), since=START)]
    clean = [finding(1, "temp", times=9)]
    marked = mark(parse_fault("missing:seats:JFK@2013-04-12"), found, clean)
    assert marked is not None
    assert (marked.feature, str(marked.part), marked.since) == ("seats", "origin=JFK", START + WEEK)
    assert (marked.place, marked.place_of_new) == ((3, 4), (2, 3))


def test_what_drifts_without_the_fault_and_what_is_elsewhere_is_no_find() -> None:
    fault = parse_fault("missing:seats:JFK@2013-04-12")
    same, elsewhere = finding(1, "seats"), finding(1, "seats", origin="LGA")
    stable = finding(1, "seats", Verdict.STABLE, origin="JFK")
    assert mark(fault, [same, elsewhere, stable], [same]) is None
    assert mark(fault, [finding(-1, "seats", origin="JFK")], []) is None, "before the fault"


@pytest.mark.parametrize(
    ("fault", "feature"),
    [("labels:B6", "error"), ("version", "score"), ("volume:LGA", "origin"), ("volume:LGA", "volume")],
)
def test_faults_that_are_no_feature_have_their_own_names(fault: str, feature: str) -> None:
    assert mark(parse_fault(f"{fault}@2013-04-12"), [finding(1, feature)], []) is not None
    assert mark(parse_fault(f"{fault}@2013-04-12"), [finding(1, "temp")], []) is None


def test_weeks_beyond_training_are_counted_and_held_against_the_findings() -> None:
    seconds = [START - WEEK * 13 + timedelta(hours=3 * at) for at in range(8 * 7 * 15)]
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(size=len(seconds)) for name in data.NUMERIC}
    texts = {name: ["a"] * len(seconds) for name in data.CATEGORICAL}
    rows = pl.DataFrame({"timestamp": seconds} | columns | texts)
    training, later = rows.filter(pl.col("timestamp") < START), rows.filter(pl.col("timestamp") >= START)
    moved = later.with_columns(temp=pl.when(pl.col("timestamp") >= START + WEEK).then(9.0).otherwise("temp"))
    lines = {line[0]: line[1:] for line in by_feature([finding(0, "humid"), finding(1, "temp")], training, moved)}
    assert lines["temp"][:4] == ("1", lines["temp"][1], lines["temp"][2], "1")
    assert int(lines["temp"][2]) >= 1
    assert lines["humid"][0] == "1"
    assert int(lines["hour"][1]) <= 2


def test_a_replay_finds_the_fault_where_it_is_and_little_else_new(store: Store, stream: FlightsStream) -> None:
    clean = replay(store, stream, FLIGHTS_WATCH)
    faulty = replay(store, stream.with_fault(parse_fault(FAULT)), FLIGHTS_WATCH)
    assert {each.window_end for each in faulty} == {START + WEEK * each for each in (1, 2, 3)}
    found = mark(parse_fault(FAULT), faulty, clean)
    assert found is not None
    assert (found.at, found.feature, str(found.part)) == (START + WEEK * 2, "seats", "origin=JFK"), (
        "its first whole week"
    )
    drifting = [each for each in clean if each.verdict is Verdict.DRIFT and not each.dimension]
    calm = Counter(end for end, _ in {(each.window_end, each.feature) for each in drifting})
    assert max(calm.values(), default=0) <= 3, "of 20 features and outputs"

"""Pairs of dimensions: a fault in two of them together is found, named once, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from drift_stream import Row, Stream, day, loop, settings

from tidegauge.config import Watch, load
from tidegauge.detectors.drift import Parts, dimensions_of, hypotheses
from tidegauge.detectors.finding import Claim, Finding, Verdict
from tidegauge.detectors.pairs import Beside
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.detectors.sketches.binning import Binning
from tidegauge.detectors.statistics import Result
from tidegauge.detectors.statistics.alike import changed_alike, distance
from tidegauge.detectors.traffic import Category, Traffic
from tidegauge.detectors.verdicts import Hypothesis, judge
from tidegauge.errors import ConfigError
from tidegauge.model import ALL, Slice
from tidegauge.store import Store

DEVICES = ("ios", "android", "web", "tv", "car", "watch")
HIDDEN = Slice.pair(Slice("port", "BB"), Slice("device", "ios"))
Rng = np.random.Generator


def device(row: Row, rng: Rng) -> None:
    row["slices"]["device"] = DEVICES[rng.integers(6)]


def fault(row: Row, rng: Rng) -> None:
    """Older people of one device in one port, too few for the device or the port to show it."""
    device(row, rng)
    row["features"]["age"] += 8 if row["slices"] == {"port": "BB", "device": "ios"} else 0


def evaluated(store: Store, change: Any, rows: int = 6000, **changes: Any) -> list[Finding]:
    """One day with ``change`` against training rows without."""
    stream = Stream(store)
    training = stream.rows([day(-30 + at * 20 / 8000) for at in range(8000)], "training")
    for row in training:
        device(row, stream.rng)
    stream.insert(training)
    stream.days(0, 1, change, rows=rows)
    return loop(store, slices=("port", "device"), **changes).run(day(1.1))


def drifting(findings: Sequence[Finding]) -> set[tuple[str, str]]:
    """Feature and part of the traffic."""
    return {
        (each.feature, str(Slice(each.dimension, each.slice))) for each in findings if each.verdict is Verdict.DRIFT
    }


@pytest.mark.parametrize("rollups", ["off", "always"])
def test_a_fault_in_two_dimensions_together_is_named_once_from_rows_and_from_counts(store: Store, rollups: str) -> None:
    found = evaluated(store, fault, rollups=rollups)
    told = [each for each in found if Slice(each.dimension, each.slice) == HIDDEN]
    assert {part for _, part in drifting(found)} == {"port=BB & device=ios"}
    assert "psi" in {each.detector for each in told}
    assert all("not in port=BB or device=ios at large" in each.reason for each in told)


def test_without_pairs_the_same_fault_is_not_seen(store: Store) -> None:
    assert not drifting(evaluated(store, fault, pairs="off"))


def test_a_fault_of_one_port_is_no_finding_of_its_pairs(store: Store) -> None:
    def change(row: Row, rng: Rng) -> None:
        device(row, rng)
        row["features"]["income"] *= 3 if row["slices"]["port"] == "BB" else 1

    assert {part for _, part in drifting(evaluated(store, change)) if "&" in part} == set()


def test_a_slice_that_drifts_by_one_pair_says_so(store: Store) -> None:
    def change(row: Row, rng: Rng) -> None:
        device(row, rng)
        here = row["slices"] == {"port": "BB", "device": "ios"}
        row["features"]["income"] *= 30 if here else 1

    found = evaluated(store, change)
    assert ("income", "port=BB & device=ios") in drifting(found)
    port = [each for each in found if (each.feature, each.slice, each.verdict) == ("income", "BB", Verdict.DRIFT)]
    assert port
    assert all("far more in port=BB & device=ios than in the rest" in each.reason for each in port)
    pair = [each for each in found if (each.feature, each.slice) == ("income", HIDDEN.value)]
    known = {each.detector for each in port}
    assert any("far more than the rest of port=BB" in each.reason for each in pair if each.detector in known)


def test_missing_values_of_a_pair_are_told_from_those_of_its_slices(store: Store) -> None:
    def change(row: Row, rng: Rng) -> None:
        device(row, rng)
        here = row["slices"] == {"port": "BB", "device": "ios"}
        row["features"]["age"] = float("nan") if rng.random() < (0.3 if here else 0.02) else row["features"]["age"]

    found = [each for each in evaluated(store, change) if each.detector == "missing" and "&" in each.dimension]
    assert drifting(found) == {("age", "port=BB & device=ios")}


def test_errors_of_a_pair_are_found_when_labels_come(store: Store) -> None:
    def change(row: Row, rng: Rng) -> None:
        device(row, rng)
        if row["slices"] == {"port": "BB", "device": "ios"} and rng.random() < 0.5:
            row["label"] = "yes" if row["label"] == "no" else "no"

    stream = Stream(store)
    training = stream.rows([day(-30 + at * 20 / 6000) for at in range(6000)], "training")
    for row in training:
        device(row, stream.rng)
    stream.insert(training, labels_after_h=1)
    stream.days(0, 1, change, rows=3000, labels_after_h=1)
    found = loop(store, slices=("port", "device")).run(day(1.1))
    pairs = {(feature, part) for feature, part in drifting(found) if "&" in part}
    assert ("error", "port=BB & device=ios") in pairs
    assert {part for _, part in pairs} == {"port=BB & device=ios"}


def traffic(rng: Rng, rows: int, *, many: int = 4) -> Traffic:
    """Two numbers, one text and two dimensions that have nothing to do with each other."""
    ports, devices = (
        Category(np.sort(rng.integers(0, size, rows)).astype(np.int32), tuple(f"{letter}{at}" for at in range(size)))
        for letter, size in (("p", 5), ("d", many))
    )
    devices = Category(rng.permutation(devices.codes), devices.names)
    plan = Category(rng.integers(0, 4, rows).astype(np.int32), tuple("abcd"))
    numbers = {"x": rng.normal(size=rows), "y": rng.exponential(size=rows)}
    return Traffic(rows, numbers, {"plan": plan}, {"port": ports, "device": devices}).with_pairs([("port", "device")])


def claims(reference: Traffic, current: Traffic) -> list[Claim]:
    before, now = Profile(reference), Profile(current)
    asked = list(hypotheses(before, now, Parts(before, now, 50, None, 100).tested))
    return judge(asked, 0.2, None, Beside(before, now, asked))


def test_calm_traffic_gives_findings_at_most_at_the_stated_rate() -> None:
    """The statistics' own floors alone would hold back nearly everything, so they are taken away."""
    windows, false = 80, 0
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        asked = claims(traffic(rng, 6000), traffic(rng, 2500))
        false += any(each.p_adjusted is not None and each.p_adjusted <= 0.2 for each in asked)
    assert false <= 0.2 * windows + 2 * np.sqrt(0.2 * 0.8 * windows), f"{false} of {windows}"


def test_pairs_beyond_the_most_are_said_to_be_in_other() -> None:
    rng = np.random.default_rng(0)
    before, now = Profile(traffic(rng, 6000)), Profile(traffic(rng, 4000))
    parts = Parts(before, now, 50, None, 7)
    pairs = [each for each in parts.tested if each.is_pair]
    assert len(pairs) == 7
    sizes = sorted((now.traffic.size(Slice("port & device", name)) for name in
                    now.traffic.dimensions["port & device"].rows_by_name), reverse=True)  # fmt: skip
    assert [now.traffic.size(each) for each in pairs] == sizes[:7]
    (other,) = (each for each in parts.untested if each.part == Slice("port & device", "other"))
    assert other.outcome is not None
    assert "13 come after the 7 with the most rows" in other.outcome.reason  # type: ignore[union-attr]


def test_counted_apart_are_the_pairs_with_the_most_rows_and_the_rest_is_one_number() -> None:
    binning = Binning.fit(Profile(traffic(np.random.default_rng(0), 6000)), 86_400, 50, 7)
    assert len(binning.slices["port & device"]) == 7
    single = traffic(np.random.default_rng(0), 6000)
    without = Binning.fit(
        Profile(Traffic(single.rows, single.numeric, single.categorical, {
            name: single.dimensions[name] for name in ("port", "device")
        })), 86_400, 50
    )  # fmt: skip
    assert binning.name != without.name, "what was counted without pairs is never compared with pairs"


def test_a_pair_that_is_its_slice_and_one_with_few_rows_are_not_tested() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, 3000).astype(np.int32)
    same = {"region": Category(codes, ("a", "b")), "zone": Category(codes, ("a1", "b1"))}
    profile = Profile(Traffic(3000, {"x": rng.normal(size=3000)}, {}, same).with_pairs([("region", "zone")]))
    assert not [each for each in Parts(profile, profile, 50, None, 100).tested if each.is_pair]
    rare = Profile(traffic(rng, 500, many=20))
    assert not [each for each in Parts(rare, rare, 50, None, 100).tested if each.is_pair]


def test_two_samples_that_changed_by_the_same_factors_changed_alike() -> None:
    rng, p_values = np.random.default_rng(0), []
    for _ in range(300):
        shares, tilt = np.full(8, 0.125), np.linspace(0.5, 1.5, 8) / 8
        one, other = ((rng.multinomial(n, shares), rng.multinomial(m, tilt)) for n, m in ((2000, 300), (9000, 1000)))
        p_values.append(changed_alike(one, other))
    assert np.mean(np.array(p_values) <= 0.1) <= 0.15
    assert distance(np.array([50, 50]), np.array([500, 500])) == 0
    assert distance(np.array([500, 500]), np.array([100, 400])) > 0.5


class Capped:
    """A slice whose names beyond the thousandth are under one name, which those of its pair are not."""

    def __init__(self, of_pair: list[int], of_slice: list[int]) -> None:
        self._of_pair, self._of_slice = np.array(of_pair), np.array(of_slice)

    def cells(self, _feature: str, part: Slice, _frozen: Any, _within: Slice) -> Any:
        return self._of_pair if part.is_pair else self._of_slice

    def ranged(self, *_: Any) -> Any:
        raise AssertionError("not asked of names")


def test_a_pair_that_knows_more_of_a_name_than_its_slice_is_not_told_from_it() -> None:
    before, now = Capped([90, 30, 0], [900, 0, 300]), Capped([30, 90, 0], [300, 0, 100])
    outcome = Result("psi", 1.0, 1e-9, 1.0, 0.1, 120, 120)
    assert 0.5 < Beside(before, now, [])(Hypothesis("plan", HIDDEN, "chi_squared", outcome)) <= 1


def test_names_of_dimensions_and_values_survive_a_pair() -> None:
    sides = Slice("a & b", "x && y"), Slice("c", " & ")
    assert Slice.pair(*sides).sides == sides
    assert (ALL.sides, Slice("port", "R & D").sides) == ((), (Slice("port", "R & D"),))


def test_which_pairs_there_are() -> None:
    watch = Watch(slices=("port", "device"), pairs=(("port", "device"),))
    assert dimensions_of(watch) == ("version", "port", "device", "port & device")
    assert dimensions_of(Watch(slices=("port",), pairs="off")) == ("version", "port")
    assert len(dimensions_of(Watch(slices=("port", "device")))) == 6


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ("some", "must be off, all, or a list of pairs such as [[carrier, origin]]"),
        ("[[port]]", "must be off, all, or a list of pairs"),
        ("[port, device]", "must be off, all, or a list of pairs"),
        ("[[port, plan]]", "pairs: [port, plan] names plan, which slices does not list"),
        ("[[port, port]]", "pairs: [port, port] is one dimension, not two"),
        ("[[port, device], [device, port]]", "pairs: [device, port] stands there more than once"),
    ],
)
def test_pairs_that_cannot_be_are_refused(tmp_path: Any, pairs: str, told: str) -> None:
    path = tmp_path / "tidegauge.yaml"
    path.write_text(f"detectors: {{models: [{{slices: [port, device], pairs: {pairs}}}]}}\n")
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert told in str(error.value)


def test_pairs_of_texts_and_names_that_look_like_pairs_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "tidegauge.yaml"
    path.write_text("detectors: {services: [{slices: [port], pairs: all}]}\n")
    with pytest.raises(ConfigError, match="pairs are tested of models"):
        load(path, {})
    path.write_text("detectors: {models: [{slices: ['R & D']}]}\n")
    with pytest.raises(ConfigError, match="a name may not hold ' & '"):
        load(path, {})


def test_a_bare_off_is_the_word(tmp_path: Any) -> None:
    path = tmp_path / "tidegauge.yaml"
    path.write_text("detectors: {embedder: off, models: [{pairs: off, rollups: off}]}\n")
    found = load(path, {}).detectors
    assert (found.embedder, found.models[0].pairs, found.models[0].rollups) == ("off", "off", "off")


def test_pairs_switched_on_later_are_counted_anew(store: Store) -> None:
    evaluated(store, fault, rollups="always", pairs="off")
    before = store.value("SELECT count() FROM sketch_binnings")
    again = DetectorLoop(store, settings(slices=("port", "device"), rollups="always"))
    again._models._last["risk"] = day(0)
    assert ("age", "port=BB & device=ios") in drifting(list(again._models.run("risk", day(1.2))))
    assert store.value("SELECT count() FROM sketch_binnings") == before + 1

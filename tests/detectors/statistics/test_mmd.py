"""Maximum mean discrepancy of vectors."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tidegauge.detectors.statistics import mmd
from tidegauge.detectors.statistics.mmd import median_distance
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined

MODULE = sys.modules["tidegauge.detectors.statistics.mmd"]


def determined(outcome: Outcome) -> Result:
    assert isinstance(outcome, Result), outcome
    return outcome


def plain(reference: np.ndarray, current: np.ndarray, width: float) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.exp(-((x[:, None] - y[None]) ** 2).sum(axis=2) / (2 * width * width))
        return result

    n, m = len(reference), len(current)
    own = [(kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1)) for x in (reference, current)]
    return float(sum(own) - 2 * kernel(reference, current).sum() / (n * m))


@pytest.mark.parametrize("tile_bytes", [1, 4 * 170 * 7, 2**26])
def test_it_is_the_unbiased_estimate_whatever_the_tiles(tile_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "TILE_BYTES", tile_bytes)
    rng = np.random.default_rng(1)
    reference, current = rng.normal(size=(90, 6)), rng.normal(0.3, 1, size=(80, 6))
    found = determined(mmd(reference, current, permutations=20, bandwidth=2.5, rng=rng))
    assert found.value == pytest.approx(plain(reference, current, 2.5), abs=1e-6)


def test_the_permuted_values_are_those_of_permuted_samples() -> None:
    rng = np.random.default_rng(2)
    pooled = rng.normal(size=(50, 3))
    labels = MODULE._labels(30, 20, 10, rng)
    sums = MODULE._gram_sums(pooled.astype(np.float32), labels, None)
    values = MODULE._estimates(sums, 30, 20)[0]
    expected = [plain(pooled[column == 1], pooled[column == 0], 1.0) for column in labels.T]
    assert values == pytest.approx(expected, abs=1e-6)


def test_the_bandwidth_is_the_median_distance_within_the_reference() -> None:
    rows = np.random.default_rng(3).normal(size=(200, 5))
    apart = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    assert median_distance(rows) == pytest.approx(np.median(apart[np.triu_indices(200, 1)]))


def test_a_far_offset_costs_no_precision() -> None:
    rng = np.random.default_rng(4)
    reference, current = rng.normal(size=(100, 4)), rng.normal(1, 1, size=(100, 4))
    near = determined(mmd(reference, current, rng=np.random.default_rng(5)))
    far = determined(mmd(reference + 1e6, current + 1e6, rng=np.random.default_rng(5)))
    assert far.value == pytest.approx(near.value, abs=1e-5)


def test_a_new_topic_is_found() -> None:
    rng = np.random.default_rng(6)
    topic = rng.normal(size=64)
    reference, current = rng.normal(size=(800, 64)), rng.normal(size=(800, 64))
    current[:80] = 1.5 * topic + 0.3 * rng.normal(size=(80, 64))
    found = determined(mmd(reference, current, rng=rng))
    assert found.p_value == 1 / 201 and found.effect > found.floor


def test_the_p_value_repeats_with_the_seed_and_is_never_zero() -> None:
    rows = np.random.default_rng(7).normal(size=(60, 3))
    first, again = (determined(mmd(rows, rows + 9, permutations=19, rng=np.random.default_rng(8))) for _ in range(2))
    assert first == again
    assert first.p_value == 1 / 20


def test_spoilt_rows_are_dropped_and_counted() -> None:
    rows = np.random.default_rng(9).normal(size=(60, 3))
    spoilt = rows.copy()
    spoilt[3, 1], spoilt[7, 2] = np.nan, np.inf
    found = determined(mmd(rows, spoilt, permutations=9, rng=np.random.default_rng(1)))
    assert (found.n_current, found.dropped_current) == (58, 2)


def test_vectors_of_different_length_and_equal_vectors_are_undetermined() -> None:
    rng = np.random.default_rng(10)
    other = mmd(rng.normal(size=(30, 3)), rng.normal(size=(30, 4)), rng=rng)
    assert isinstance(other, Undetermined) and other.reason == "the vectors do not match: 3 against 4 dimensions"
    flat = mmd(np.ones((30, 3)), rng.normal(size=(30, 3)), rng=rng)
    assert isinstance(flat, Undetermined) and "no spread" in flat.reason


def test_torch_and_numpy_agree() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(11)
    points, labels = rng.normal(size=(120, 8)).astype(np.float32), MODULE._labels(70, 50, 40, rng)
    here = MODULE._estimates(MODULE._tiled(np, points, labels), 70, 50)[0]
    there = MODULE._estimates(MODULE._tiled(torch, torch.from_numpy(points), torch.from_numpy(labels)), 70, 50)[0]
    assert there == pytest.approx(here, abs=1e-6)

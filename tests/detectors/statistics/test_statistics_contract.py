"""Every statistic, found by itself, over every kind of bad data."""

from __future__ import annotations

import doctest
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import numpy as np
import pytest

from tidegauge.detectors import statistics
from tidegauge.detectors.statistics.arrays import FloatArray, IntArray, Matrix
from tidegauge.detectors.statistics.random_features import Buckets
from tidegauge.detectors.statistics.result import Outcome, Result, Undetermined

NAN, INF = float("nan"), float("inf")
MODULES = [
    importlib.import_module(f"{statistics.__name__}.{found.name}")
    for found in pkgutil.iter_modules(statistics.__path__)
]
HELPERS = {"settled", "divergence", "share_shift", "share_rise", "beyond_reference", "judged_levels"}

SAMPLES: dict[str, Any] = {
    "empty": [],
    "one value": [1.5],
    "two values": [1.5, 2.5],
    "one missing": [NAN],
    "all missing": [NAN] * 300,
    "none": [None] * 300,
    "all infinite": [INF, -INF] * 150,
    "a few of each": [NAN, INF, -INF, -0.0, 0.0, 5e-324, 1.0, 2.0] * 40,
    "constant": [3.0] * 300,
    "another constant": [4.0] * 300,
    "rounding noise": [0.1 + 0.2, 0.3] * 150,
    "denormal": list(np.arange(300) * 5e-324),
    "tiny": list(np.arange(300) * 1e-200),
    "largest": [1.7e308, -1.7e308, 0.0] * 100,
    "huge": list(np.arange(300) * 1e200),
    "booleans": [True, False] * 150,
    "text": ["nan", "1"] * 150,
    "usual": list(np.random.default_rng(1).normal(size=300)),
}
COUNTS: dict[str, Any] = {
    "no cell": [],
    "one cell": [500],
    "all zero": [0] * 10,
    "all in the first": [500] + [0] * 9,
    "all in the last": [0] * 9 + [500],
    "one row": [0] * 9 + [1],
    "negative": [500] * 9 + [-1],
    "enormous": [2**52] * 10,
    "usual": [50] * 10,
    "one each": [1] * 10,
}
MAPPINGS: dict[str, Any] = {
    "empty": {},
    "zeros": {"a": 0, "b": 0},
    "one row": {"a": 1},
    "constant": {"a": 500},
    "all new": {"z": 500},
    "all once": {str(at): 1 for at in range(300)},
    "odd names": {"": 3, "nan": 5, "None": 2, "\x00": 400},
    "usual": {"a": 300, "b": 150, "c": 1},
}
SHARES = [(0, 0), (0, 1), (1, 1), (2, 1), (-1, 9), (0, 10**6), (10**6, 10**6), (1, 10**6), (50, 300), (5, 5)]
WINDOWS: dict[str, Any] = {
    "none": [],
    "three": [10, 10, 10],
    "all empty": [0] * 8,
    "all equal": [100] * 8,
    "negative": [100] * 7 + [-5],
    "one outage": [1000] * 7 + [0],
    "enormous": [2**60] * 8,
    "usual": [100, 120, 90, 110, 105],
}


def matrix(values: list[Any]) -> Any:
    return np.repeat(np.asarray(values, dtype=np.float64)[:, None], 4, axis=1)


def buckets(values: list[Any]) -> Buckets:
    """Each value as the four sums of a bucket, of one to three rows."""
    sums = matrix(values)
    return Buckets("made-up", np.arange(len(sums), dtype=np.int64) % 3 + 1, sums)


def statistics_found() -> dict[str, Callable[..., Outcome]]:
    """Public functions of the folder that return an Outcome, whoever wrote them."""
    found: dict[str, Callable[..., Outcome]] = {}
    for module in MODULES:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_") and name not in HELPERS
            if own and get_type_hints(function).get("return") == Outcome:
                found[name] = function
    return found


def inputs_for(function: Callable[..., Outcome]) -> dict[str, tuple[Any, ...]]:
    """All pairs of bad inputs of the kind that the annotations ask for."""
    hints = list(get_type_hints(function).values())
    if hints[:2] == [FloatArray, FloatArray]:
        return {f"{a} / {b}": (x, y) for a, x in SAMPLES.items() for b, y in SAMPLES.items()}
    if hints[:2] == [Matrix, Matrix]:
        return {f"{a} / {b}": (matrix(x), matrix(y)) for a, x in SAMPLES.items() for b, y in SAMPLES.items()}
    if hints[:2] == [Buckets, Buckets]:
        return {f"{a} / {b}": (buckets(x), buckets(y)) for a, x in SAMPLES.items() for b, y in SAMPLES.items()}
    if hints[:2] == [IntArray, IntArray]:
        table = {name: np.array(counts, dtype=np.int64) for name, counts in COUNTS.items()}
        return {f"{a} / {b}": (x, y) for a, x in table.items() for b, y in table.items()}
    if hints[:2] == [Mapping[str, int], Mapping[str, int]]:
        return {f"{a} / {b}": (x, y) for a, x in MAPPINGS.items() for b, y in MAPPINGS.items()}
    if hints[:2] == [IntArray, int]:
        return {f"{a} / {now}": (np.array(x), now) for a, x in WINDOWS.items() for now in (-1, 0, 1, 100, 10**12)}
    assert hints[:4] == [int, int, int, int], f"no bad inputs are known for {function.__name__}: add its kind here"
    return {f"{a} / {b}": (*a, *b) for a in SHARES for b in SHARES}


def call(function: Callable[..., Outcome], arguments: tuple[Any, ...]) -> Outcome:
    parameters = inspect.signature(function).parameters
    extra: dict[str, Any] = {"rng": np.random.default_rng(0)} if "rng" in parameters else {}
    if "permutations" in parameters:
        extra["permutations"] = 9
    return function(*arguments, **extra)


FOUND = statistics_found()


def test_the_search_finds_every_exported_statistic() -> None:
    exported = {name for name in statistics.__all__ if inspect.isfunction(getattr(statistics, name))}
    assert set(FOUND) == exported - {"benjamini_hochberg", "e_benjamini_hochberg"}


@pytest.mark.parametrize("name", FOUND)
def test_bad_data_gives_finite_numbers_or_a_reason_and_never_an_exception(name: str) -> None:
    for label, arguments in inputs_for(FOUND[name]).items():
        outcome = call(FOUND[name], arguments)
        assert outcome.method == name, label
        if isinstance(outcome, Undetermined):
            assert outcome.reason, label
        else:
            assert_sound(outcome, label)


def assert_sound(outcome: Result, label: str) -> None:
    assert math.isfinite(outcome.value), label
    assert math.isfinite(outcome.effect) and outcome.effect >= 0, label
    assert outcome.p_value is None or 0 <= outcome.p_value <= 1, (label, outcome)
    assert math.isfinite(outcome.floor) and outcome.floor > 0, label
    assert outcome.n_reference > 0 and outcome.n_current > 0, label
    for number in (outcome.value, outcome.effect, outcome.p_value):
        assert number is None or type(number) is float, (label, type(number))


@pytest.mark.parametrize("name", FOUND)
def test_inputs_are_left_as_they_were(name: str) -> None:
    label, arguments = list(inputs_for(FOUND[name]).items())[-1]
    before = [np.array(argument, copy=True) if isinstance(argument, np.ndarray) else argument for argument in arguments]
    call(FOUND[name], arguments)
    assert all(
        np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in zip(before, arguments, strict=True)
    ), label


@pytest.mark.parametrize(
    "name", [name for name, f in FOUND.items() if next(iter(get_type_hints(f).values())) == FloatArray]
)
def test_missing_and_infinite_values_are_dropped_and_counted_and_change_nothing_else(name: str) -> None:
    rng = np.random.default_rng(2)
    reference, current = rng.normal(size=600), rng.normal(size=500)
    clean = FOUND[name](reference, current)
    spoilt = FOUND[name](np.append(reference, [NAN, INF]), np.append([NAN, -INF, INF], current))
    assert isinstance(clean, Result) and isinstance(spoilt, Result)
    assert (spoilt.dropped_reference, spoilt.dropped_current) == (2, 3)
    assert (spoilt.value, spoilt.p_value, spoilt.effect) == (clean.value, clean.p_value, clean.effect)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_examples_in_the_docstrings_are_true(module: Any) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0 and outcome.failed == 0


@pytest.mark.parametrize("name", FOUND)
def test_every_statistic_says_its_range_its_source_and_its_effect(name: str) -> None:
    text = inspect.getdoc(FOUND[name]) or ""
    assert ">>>" in text
    assert "see ``share_shift``" in text or all(word in text for word in ("Range:", "Source", "``effect``"))

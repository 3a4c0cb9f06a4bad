"""Two frames in one call: the loop's numbers, whatever a frame is made of, and a word for what cannot be told."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import tidegauge
from tidegauge.detectors import drift
from tidegauge.detectors.compare import Comparison, compare
from tidegauge.detectors.compare import columns as columns_module
from tidegauge.detectors.finding import Claim, Verdict
from tidegauge.detectors.profile import Profile
from tidegauge.detectors.statistics import NumericBins, Result, Undetermined
from tidegauge.detectors.traffic import Traffic, encoded
from tidegauge.detectors.verdicts import judge, worth_a_row
from tidegauge.errors import InvalidRecord
from tidegauge.model import ALL

ROWS = 2000


def traffic(rng: np.random.Generator, shift: float = 0.0, rows: int = ROWS) -> dict[str, Any]:
    """One column that is ``shift`` further, one that is as it was, one whose mix changes with it, and a slice."""
    mix = [0.5, 0.3, 0.2] if not shift else [0.2, 0.3, 0.5]
    return {
        "moved": rng.normal(shift, 1, rows),
        "still": np.where(rng.random(rows) < 0.02, np.nan, rng.exponential(1, rows)),
        "plan": rng.choice(["free", "plus", "pro"], rows, p=mix).tolist(),
        "country": rng.choice(["de", "fr", "it"], rows).tolist(),
    }


def result(claims: tuple[Claim, ...], detector: str) -> Result:
    [found] = [each.outcome for each in claims if each.detector == detector and each.part == ALL]
    assert isinstance(found, Result), found
    return found


def reason(found: Comparison, column: str) -> str:
    assert column not in found.drifted
    return found.undetermined[column]


def of_one(before: Any, after: Any, **options: Any) -> Comparison:
    return compare({"x": before}, {"x": after}, **options)


def test_it_says_what_the_drift_loop_says_of_the_same_rows(rng: np.random.Generator) -> None:
    before, after = traffic(rng), traffic(rng, 0.4)
    sides = []
    for each in (before, after):
        texts = {name: encoded(pa.chunked_array([pa.array(each[name])])) for name in ("plan", "country")}
        numbers = {name: each[name] for name in ("moved", "still")}
        sides.append(Profile(Traffic(ROWS, numbers, {"plan": texts["plan"]}, {"country": texts["country"]})))
    reference, current = sides
    parts = drift.Parts(reference, current, 20)
    judged = judge(list(drift.hypotheses(reference, current, parts.tested)), 0.05)
    expected = [each for each in judged if worth_a_row(each)]

    found = compare(before, after, slices=["country"])

    def key(claim: Claim) -> tuple[str, ...]:
        return (claim.feature, claim.detector, *map(str, (claim.part, claim.verdict, claim.outcome, claim.p_adjusted)))

    assert sorted(map(key, found.claims)) == sorted(map(key, expected))
    assert set(found.drifted) == {"plan", "moved"}


def test_every_kind_of_frame_gives_the_same(rng: np.random.Generator, tmp_path: Path) -> None:
    plain = traffic(rng), traffic(rng, 0.4)
    polars = [pl.DataFrame(each, nan_to_null=True) for each in plain]
    names = pl.Enum(["de", "fr", "it"])
    typed = [each.cast({"plan": pl.Categorical, "country": names}) for each in polars]
    for at, each in enumerate(polars):
        each.write_parquet(tmp_path / f"{at}.parquet")
    kinds: list[list[Any]] = [
        polars,
        typed,
        [each.lazy() for each in polars],
        [pd.DataFrame(each) for each in plain],
        [pd.DataFrame(each).astype({"plan": "category", "country": object}) for each in plain],
        [pd.DataFrame(each).convert_dtypes() for each in plain],
        [each.to_arrow() for each in polars],
        [pa.table(each).to_batches()[0] for each in plain],
        [str(tmp_path / f"{at}.parquet") for at in range(2)],
    ]
    expected = compare(*plain)
    for one, other in pairwise([*kinds, kinds[0]]):
        assert compare(one[0], other[1]) == expected


def test_drift_comes_with_numbers_and_the_cell_that_moved(rng: np.random.Generator) -> None:
    found = compare(traffic(rng), traffic(rng, 0.4))
    psi = result(found.of("moved"), "psi")
    assert psi.effect > psi.floor and psi.p_value is not None and psi.p_value < 1e-6
    [row] = [each for each in found.rows() if each["column"] == "plan" and each["detector"] == "chi_squared"]
    assert row["verdict"] == "drift" and row["moved"].startswith(("free: 5", "free: 4", "pro: "))
    assert found.to_polars().height == len(found.to_pandas()) == len(found.claims)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["drifted"] == list(found.drifted)
    assert str(found).splitlines()[-1] == "stable: 2 columns"


def test_without_ks_and_wasserstein_nothing_is_sorted_and_the_rest_is_as_it_was(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = traffic(rng), traffic(rng, 0.4)
    whole = compare(before, after)
    fitted = {name: NumericBins.fit(before[name]) for name in ("moved", "still")}
    monkeypatch.setattr(Profile, "bins", lambda self, name: fitted[name])
    monkeypatch.setattr(np, "sort", lambda *_: pytest.fail("something was sorted"))
    binned = compare(before, after, methods=["psi", "jensen_shannon", "chi_squared"])
    for name in ("moved", "still"):
        assert result(binned.of(name), "psi") == result(whole.of(name), "psi")
    assert {each.detector for each in binned.claims} == {"psi", "jensen_shannon", "chi_squared"}


def test_the_edges_of_many_rows_come_from_some_of_them_and_the_counts_from_all(rng: np.random.Generator) -> None:
    values = rng.normal(size=300_000)
    bins = NumericBins.fit(values)
    assert bins == NumericBins.fit(values) and len(bins.edges) == 9
    shares = bins.counts(values) / len(values)
    assert shares.sum() == pytest.approx(1) and np.abs(shares - 0.1).max() < 0.01
    sparse = np.where(rng.random(300_000) < 0.0005, values, np.nan)
    assert NumericBins.fit(sparse) == NumericBins.fit(sparse[np.isfinite(sparse)])


def test_slices_tell_where_a_column_moved(rng: np.random.Generator) -> None:
    before, after = traffic(rng), traffic(rng)
    after["moved"] = np.where(np.array(after["country"]) == "fr", after["moved"] + 1, after["moved"])
    found = compare(before, after, slices=["country"], methods=["wasserstein"])
    apart = {each.part.value for each in found.claims if each.feature == "moved" and each.part != ALL}
    assert apart == {"fr"} and "country=fr" in str(found)


BAD: list[tuple[Any, Any, str]] = [
    ([], [1.0] * 300, "the reference is empty"),
    ([1.0] * 300, [], "the current window is empty"),
    (np.arange(600.0), [1.0], "1 rows are too few for 10 cells: 279 are needed"),
    (np.arange(600.0), ["a"] * 600, "schema changed: number in the reference, text in the window"),
    (["a"] * 600, np.arange(600.0), "schema changed: text in the reference, number in the window"),
    (
        [datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 1, 1, tzinfo=UTC)] * 300,
        [datetime(1900, 1, 1, tzinfo=UTC)] * 600,
        "a column of type timestamp[us, tz=UTC]",
    ),
    ([[1], [2]] * 300, [[1]] * 600, "a column of type list<item: int64>"),
    (pl.Series([{"a": 1}] * 300), [1.0] * 300, "values of type Struct"),
    (np.ones(300) * 1j, np.ones(300), "values of type complex128"),
    (np.ones((300, 2)), np.ones(300), "an array of 2 dimensions"),
]


@pytest.mark.parametrize(("before", "after", "expected"), BAD, ids=[each[2][:40] for each in BAD])
def test_what_cannot_be_told_of_a_column_is_undetermined_with_its_reason(
    before: Any, after: Any, expected: str
) -> None:
    found = compare(*({"x": each, "y": np.arange(float(len(each)))} for each in (before, after)))
    assert expected in reason(found, "x")
    assert all(each.verdict is not Verdict.DRIFT for each in found.of("x") if isinstance(each.outcome, Undetermined))


CLEAN: list[tuple[str, Any]] = [
    ("constant", [1.0] * 600),
    ("mixed", [1, "x", None, 2.5] * 150),
    ("decimals", [Decimal("1.5"), Decimal("2.5"), None] * 200),
    ("bools", [True, False, None] * 200),
    ("tiny", [0.0, -0.0, 5e-324] * 200),
    ("huge", [1e308, -1e308, 1.0] * 200),
    ("beyond floats", [10**400, 1] * 300),
    ("unsigned", np.array([2**64 - 1, 1] * 300, dtype=np.uint64)),
    ("infinite", [float("inf"), float("-inf"), 1.0] * 200),
    ("many names", [f"name {at % 10_000}" for at in range(20_000)]),
    ("nothing", [None] * 600),
    ("empty text", ["", None] * 300),
    ("two of one name", pd.Series(pd.Categorical([1, "1", 2] * 200))),
    ("nullable", pd.array([1, None, 3] * 200, dtype="Int64")),
]


@pytest.mark.parametrize("values", [each[1] for each in CLEAN], ids=[each[0] for each in CLEAN])
def test_odd_values_that_did_not_change_are_no_drift_and_every_number_is_finite(values: Any) -> None:
    found = of_one(values, values)
    assert found.drifted == ()
    json.dumps(found.as_json(), allow_nan=False)
    assert str(found)


def test_names_of_rows_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "MOST_TEXTS", 100)
    ids = [f"id {at}" for at in range(101)]
    assert reason(of_one(ids, ids), "x").startswith("101 different values are names of rows")


def test_numbers_that_are_names_are_compared_as_names(rng: np.random.Generator) -> None:
    before, after = rng.integers(10_000, 10_020, ROWS), rng.integers(10_000, 10_010, ROWS)
    found = of_one(before, after.astype(float), categorical=["x"])
    assert result(found.of("x"), "chi_squared").effect > 0.1


def test_a_column_that_has_the_name_of_an_output_is_a_column(rng: np.random.Generator) -> None:
    before = {"error": ["bad", "wrong"] * 300, "score": rng.normal(size=600), "*": rng.normal(size=600)}
    found = compare(before, before)
    assert {each.feature for each in found.claims} == {"error", "score", "*"}
    assert found.drifted == () and found.undetermined == {}


def test_a_column_that_one_side_lacks_is_undetermined_and_holds_up_nothing(rng: np.random.Generator) -> None:
    before, after = traffic(rng), traffic(rng, 0.4)
    del before["plan"], after["still"]
    found = compare(before, after)
    assert reason(found, "plan") == "schema changed: the reference does not have this feature"
    assert reason(found, "still") == "schema changed: the window does not have this feature"
    assert found.drifted == ("moved",)


WRONG: list[tuple[tuple[Any, Any], dict[str, Any], str]] = [
    (({}, {}), {}, "there is no column to compare"),
    ((5, {"x": [1]}), {}, "the reference is a int: it must be a polars or pandas frame"),
    (({"x": [1]}, {"x": 1}), {}, "the current frame must map names to arrays"),
    (({"x": [1], "y": [1, 2]}, {"x": [1]}), {}, "the columns of the reference differ in length: x 1, y 2"),
    (({"x": [1]}, "no/such.parquet"), {}, "the current frame no/such.parquet cannot be read as Parquet"),
    (({"x": [1]}, {"x": [1]}), {"columns": ["y"]}, "neither side has a column 'y'; there are: x"),
    (({"x": [1]}, {"x": [1]}), {"methods": ["psy"]}, "there is no method 'psy'; there are: anderson_darling,"),
    (({"x": [1]}, {"x": [1]}), {"methods": []}, "methods names none"),
    (({"x": [1]}, {"x": [1]}), {"exclude": ["x"]}, "there is no column to compare"),
    (({"x": [1]}, {"x": [1]}), {"false_discovery_rate": 1.5}, "false_discovery_rate must be from 0 to 1, got 1.5"),
    (({"x": [1], "s": ["a"]}, {"x": [1]}), {"slices": ["s"]}, "there is no column 's' to slice by; there are: x"),
    ((pd.DataFrame([[1, 2]], columns=["x", "x"]), {"x": [1]}), {}, "the reference has more than one column 'x'"),
]


@pytest.mark.parametrize(("frames", "options", "expected"), WRONG, ids=[each[2][:40] for each in WRONG])
def test_a_wrong_argument_is_an_error_that_says_which(
    frames: tuple[Any, Any], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidRecord) as error:
        compare(*frames, **options)
    assert str(error.value).startswith(expected)


def test_names_of_columns_write_no_control_characters_to_a_terminal() -> None:
    name = "x\x1b[31m\n"
    text = str(compare({name: np.arange(1000.0)}, {name: np.arange(1000.0) + 900}))
    assert "\x1b" not in text and "drift: x [31m " in text


MEMORY = """
import resource
import numpy as np
from tidegauge.detectors.compare import compare
rng = np.random.default_rng(0)
def frame(rows): return {f"n{at}": rng.normal(size=rows) for at in range(20)}
compare(frame(2000), frame(2000))
sides = frame(200_000), frame(200_000)
with open("/proc/self/clear_refs", "w") as file: file.write("5")
def status(name): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = status("VmRSS")
compare(*sides)
print((status("VmHWM") - before) * 1024 / (2 * 20 * 200_000 * 8))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_beside_the_frames_memory_holds_a_few_copies_of_one_column() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.2


def test_it_stands_at_the_top_of_the_package() -> None:
    assert tidegauge.compare is compare

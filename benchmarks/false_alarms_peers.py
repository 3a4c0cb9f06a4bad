"""One library on windows without and with a shift: how often its defaults alarm, and its power at 5 % false alarms.

    DIR/<peer>/bin/python benchmarks/false_alarms_peers.py evidently|nannyml|whylogs|frouros|alibi-detect|tidegauge|...

Run by `false_alarms.py peers` with each library's own Python; so nothing here imports Tidegauge before it is asked for.
Each adapter returns for one reference and one window a score that grows with drift, and whether its defaults call it
drift. Power at equal false alarms: the share of shifted windows whose score passes the 95 % quantile of the scores of
windows without a shift. NannyML is fitted to the reference in chunks as long as the window, as it asks to be.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np

N = 10_000
SIZES = (100, 1_000, 10_000)
WINDOWS = {"nannyml": 40, "whylogs": 50}
"""Slow ones get fewer windows, and none of 10,000 rows."""
Values = np.ndarray
Judge = Callable[[Values, Values, bool], tuple[float, bool]]


def worth(p: float) -> float:
    return -math.log(max(p, 1e-300))


def evidently() -> Judge:
    import pandas as pd
    from evidently.legacy.calculations.stattests import get_stattest

    def judge(reference: Values, current: Values, text: bool) -> tuple[float, bool]:
        left, right, kind = pd.Series(reference), pd.Series(current), "cat" if text else "num"
        test = get_stattest(left, right, kind, None)
        found = test(left, right, kind, None)
        score = float(found.drift_score)
        return (worth(score) if "p_val" in test.name or "chi" in test.name else score), bool(found.drifted)

    return judge


def nannyml() -> Judge:
    import nannyml as library
    import pandas as pd

    def judge(reference: Values, current: Values, text: bool) -> tuple[float, bool]:
        frames = [pd.DataFrame({"x": each.astype(str) if text else each}) for each in (reference, current)]
        calculator = library.UnivariateDriftCalculator(["x"], chunk_size=min(len(current), N // 10))
        found = calculator.fit(frames[0]).calculate(frames[1]).filter(period="analysis").to_df()["x"]["jensen_shannon"]
        return float(found["value"].max()), bool(found["alert"].any())

    return judge


def whylogs() -> Judge:
    import pandas as pd
    import whylogs as library
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    def judge(reference: Values, current: Values, text: bool) -> tuple[float, bool]:
        views = [library.log(pd.DataFrame({"x": e.astype(str) if text else e})).view() for e in (reference, current)]
        found = calculate_drift_scores(target_view=views[1], reference_view=views[0], with_thresholds=True)["x"]
        return worth(float(found["pvalue"])), found["drift_category"] == "DRIFT"

    return judge


def frouros() -> Judge:
    from frouros.detectors.data_drift import ChiSquareTest, KSTest

    def judge(reference: Values, current: Values, text: bool) -> tuple[float, bool]:
        detector = ChiSquareTest() if text else KSTest()
        detector.fit(X=reference)
        p = float(detector.compare(X=current)[0].p_value)
        return worth(p), p < 0.05

    return judge


def alibi_detect() -> Judge:
    from alibi_detect.cd import ChiSquareDrift, KSDrift

    def judge(reference: Values, current: Values, text: bool) -> tuple[float, bool]:
        kind = ChiSquareDrift if text else KSDrift
        found = kind(reference.reshape(-1, 1), p_val=0.05).predict(current.reshape(-1, 1))["data"]
        return worth(float(found["p_val"][0])), bool(found["is_drift"])

    return judge


def tidegauge(numeric: str = "ks") -> Judge:
    from tidegauge.detectors import statistics
    from tidegauge.detectors.statistics import Result, chi_squared

    def judge(reference: Values, current: Values, text: bool) -> tuple[float, bool]:
        if text:
            cells = int(max(reference.max(), current.max())) + 1
            found = chi_squared(*(np.bincount(each, minlength=cells) for each in (reference, current)))
        else:
            found = getattr(statistics, numeric)(reference, current)
        if not isinstance(found, Result) or found.p_value is None:
            return 0.0, False
        return worth(found.p_value), found.p_value <= 0.05 and found.effect >= found.floor

    return judge


ADAPTERS: dict[str, Callable[[], Judge]] = {
    "evidently": evidently,
    "nannyml": nannyml,
    "whylogs": whylogs,
    "frouros": frouros,
    "alibi-detect": alibi_detect,
    "tidegauge": tidegauge,
    "tidegauge-wasserstein": lambda: tidegauge("wasserstein"),
}


def zipf(count: int) -> Values:
    weights = 1 / np.arange(1, count + 1)
    return np.asarray(weights / weights.sum())


def worlds() -> Iterator[tuple[str, bool, Callable[[np.random.Generator, int], Values]]]:
    yield "normal", False, lambda rng, n: rng.normal(size=n)
    yield "ties", False, lambda rng, n: np.round(rng.normal(size=n) * 2)
    yield "t(2)", False, lambda rng, n: rng.standard_t(2, size=n)
    yield "10 categories", True, lambda rng, n: rng.choice(10, size=n, p=zipf(10))
    yield "100 categories", True, lambda rng, n: rng.choice(100, size=n, p=zipf(100))


def shifted(values: Values, text: bool, rng: np.random.Generator, size: float) -> Values:
    """Numbers move by ``size`` deviations of a normal; of texts a share of size / 5 becomes the second category."""
    return np.where(rng.random(len(values)) < size / 5, 1, values) if text else values + size


def measure(name: str) -> Iterator[dict[str, object]]:
    judge, windows = ADAPTERS[name](), WINDOWS.get(name, 200)
    for data, text, draw in worlds():
        if text and name.endswith("wasserstein"):
            continue
        for size in SIZES:
            if size == SIZES[-1] and name in WINDOWS:
                continue
            rng, began = np.random.default_rng([17, size]), time.process_time()
            pairs = [(draw(rng, N), draw(rng, size)) for _ in range(windows)]
            clean = [judge(reference, current, text) for reference, current in pairs]
            limit = float(np.quantile([score for score, _ in clean], 0.95))
            row: dict[str, object] = {
                "peer": name,
                "version": version(name.removesuffix("-wasserstein")),
                "data": data,
                "rows": size,
            }
            row |= {"windows": windows, "false alarms": round(sum(alarm for _, alarm in clean) / windows, 3)}
            for move in (0.1, 0.25, 0.5):
                moved = [judge(reference, shifted(current, text, rng, move), text) for reference, current in pairs]
                row[f"power at 5 %, shift {move:g}"] = round(sum(score > limit for score, _ in moved) / windows, 3)
                row[f"called drift, shift {move:g}"] = round(sum(alarm for _, alarm in moved) / windows, 3)
            yield row | {"cpu_s": round(time.process_time() - began, 1)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for found in measure(sys.argv[1]):
        print(json.dumps(found), flush=True)

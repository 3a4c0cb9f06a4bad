"""Drift of two frames, ours beside the peers: processor time and memory, each in a process of its own.

    .venv/bin/python benchmarks/frame_drift.py [--rows 1000000] [--rounds 5] [--peers DIR] [--only NAME ...]

Two pandas frames of 20 float and 5 categorical columns, half of them shifted; all of PSI, KS, Jensen-Shannon,
Wasserstein and chi-squared where a library has them. A peer runs with DIR/<peer>/bin/python (evidently, nannyml,
whylogs, alibi-detect; `uv venv DIR/evidently && uv pip install -p DIR/evidently/bin/python evidently`) and is left out
with a word where that is not there. Bounds: sorting the 40 columns, which exact KS and Wasserstein need; ten counts a
column and the counts of the codes, edges given, which the binned methods need.

CPU seconds: of the process, all threads, the least of the rounds (of a peer one round, unless its name is in --only),
after a run on 2,000 rows. Memory: how far the peak of the resident set rises above what stood before, over the bytes
of the two frames; so 0.1 is 1.1 times the input in all.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NUMERIC, CATEGORICAL, NAMES = 20, 5, 12
METHODS = ("psi", "ks", "jensen_shannon", "wasserstein", "chi_squared")
BINNED = ("psi", "kl", "jensen_shannon", "chi_squared")
SILENT = {"NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True", "DO_NOT_TRACK": "1"}
"""Some of them report their use to their makers."""
Frame = pd.DataFrame
Work = Callable[[Frame, Frame], object]


def frame(rows: int, side: int) -> Frame:
    """Every other column of side 1 is shifted."""
    rng = np.random.default_rng(side)
    names = [f"category {at:02d}" for at in range(NAMES)]
    shares = np.arange(1, NAMES + 1) / (NAMES * (NAMES + 1) / 2)
    columns: dict[str, Any] = {}
    for at in range(NUMERIC):
        columns[f"n{at}"] = rng.normal(0.3 * side * (at % 2), 1, rows)
    for at in range(CATEGORICAL):
        codes = rng.choice(NAMES, rows, p=shares[::-1] if side and at % 2 else shares).astype(np.int8)
        columns[f"c{at}"] = pd.Categorical.from_codes(codes, pd.Index(names))
    return pd.DataFrame(columns)


def ours(methods: tuple[str, ...]) -> Work:
    from tidegauge import compare

    return lambda reference, current: compare(reference, current, methods=methods)


def as_polars(data: Frame, text: bool) -> Any:
    import polars as pl

    names = pl.Enum([f"category {at:02d}" for at in range(NAMES)])
    found = pl.from_pandas(data).with_columns(pl.col("^c.*$").cast(pl.String))
    return found if text else found.with_columns(pl.col("^c.*$").cast(names))


def as_parquet(data: Frame) -> Path:
    path = Path(tempfile.mkdtemp()) / "frame.parquet"
    data.to_parquet(path)
    return path


PREPARED: dict[str, Callable[[Frame], Any]] = {
    "polars Enum": lambda data: as_polars(data, text=False),
    "polars String": lambda data: as_polars(data, text=True),
    "Parquet files": as_parquet,
}
"""What a case is given instead of a pandas frame; made beforehand."""


def sorting(reference: Frame, current: Frame) -> None:
    for at in range(NUMERIC):
        for side in (reference, current):
            np.sort(side[f"n{at}"].to_numpy())


def counting(reference: Frame, current: Frame) -> None:
    edges = np.linspace(-1.3, 1.3, 9).tolist()
    for side in (reference, current):
        for at in range(NUMERIC):
            values = side[f"n{at}"].to_numpy()
            for first in range(0, len(values), 65_536):
                block = values[first : first + 65_536]
                [np.count_nonzero(block < edge) for edge in edges]
        for at in range(CATEGORICAL):
            np.bincount(side[f"c{at}"].cat.codes.to_numpy())


def with_scipy(reference: Frame, current: Frame) -> None:
    from scipy import stats

    for at in range(NUMERIC):
        stats.ks_2samp(reference[f"n{at}"].to_numpy(), current[f"n{at}"].to_numpy(), method="asymp")


def evidently(method: str, categorical: str) -> Work:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    def run(reference: Frame, current: Frame) -> object:
        columns = {"numerical_columns": names("n"), "categorical_columns": names("c")}
        sides = [Dataset.from_pandas(each, data_definition=DataDefinition(**columns)) for each in (current, reference)]
        return Report([DataDriftPreset(num_method=method, cat_method=categorical)]).run(*sides).dict()

    return run


def nannyml(continuous: str, categorical: str) -> Work:
    import nannyml as library

    def run(reference: Frame, current: Frame) -> object:
        calculator = library.UnivariateDriftCalculator(
            [*names("n"), *names("c")],
            continuous_methods=[continuous],
            categorical_methods=[categorical],
            chunk_number=10,
        )
        return calculator.fit(reference).calculate(current).to_df()

    return run


def whylogs(reference: Frame, current: Frame) -> object:
    import whylogs as library
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    views = [library.log(each).view() for each in (reference, current)]
    return calculate_drift_scores(target_view=views[1], reference_view=views[0], with_thresholds=True)


def alibi_detect(reference: Frame, current: Frame) -> object:
    from alibi_detect.cd import TabularDrift

    def matrix(data: Frame) -> np.ndarray:
        numbers = [data[name].to_numpy() for name in names("n")]
        return np.column_stack([*numbers, *(data[name].cat.codes.to_numpy() for name in names("c"))]).astype(np.float32)

    kinds = {NUMERIC + at: NAMES for at in range(CATEGORICAL)}
    return TabularDrift(matrix(reference), p_val=0.05, categories_per_feature=kinds).predict(matrix(current))


def names(letter: str) -> list[str]:
    return [f"{letter}{at}" for at in range(NUMERIC if letter == "n" else CATEGORICAL)]


CASES: dict[str, tuple[str, Callable[[], Work]]] = {
    "bound: 40 sorts": ("", lambda: sorting),
    "tidegauge, all five methods": ("", lambda: ours(METHODS)),
    "tidegauge, all five, polars Enum": ("", lambda: ours(METHODS)),
    "tidegauge, all five, polars String": ("", lambda: ours(METHODS)),
    "tidegauge, all five, Parquet files": ("", lambda: ours(METHODS)),
    "bound: 10 counts a column": ("", lambda: counting),
    "tidegauge, binned methods": ("", lambda: ours(BINNED)),
    "scipy, KS alone": ("", lambda: with_scipy),
    "alibi-detect, KS and chi-squared": ("alibi-detect", lambda: alibi_detect),
    "nannyml, KS and chi-squared": ("nannyml", lambda: nannyml("kolmogorov_smirnov", "chi2")),
    "nannyml, Jensen-Shannon": ("nannyml", lambda: nannyml("jensen_shannon", "jensen_shannon")),
    "whylogs, profiles and scores": ("whylogs", lambda: whylogs),
    "evidently, PSI": ("evidently", lambda: evidently("psi", "psi")),
    "evidently, KS and chi-squared": ("evidently", lambda: evidently("ks", "chisquare")),
    "evidently, Wasserstein and Jensen-Shannon": ("evidently", lambda: evidently("wasserstein", "jensenshannon")),
}


def measured(name: str, rows: int, rounds: int) -> dict[str, object]:
    """One case, in this process."""
    peer, make = CASES[name]
    warnings.simplefilter("ignore")
    prepare = next((each for key, each in PREPARED.items() if key in name), lambda data: data)
    work, held, sides = make(), 0, []
    work(*(prepare(frame(2000, side)) for side in range(2)))
    for side in range(2):
        data = frame(rows, side)
        held += int(data.memory_usage(deep=True).sum())
        sides.append(prepare(data))
    del data
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed while the frames were made would hide what is taken now
    before, spent, peak = peak_reset(), [], 0
    for _ in range(rounds):
        began = time.process_time()
        work(*sides)
        spent.append(time.process_time() - began)
        peak = peak or status("VmHWM")
    library = peer or ("scipy" if name.startswith("scipy") else "tidegauge" if name.startswith("tide") else "numpy")
    return {
        "case": name,
        "version": known(library),
        "cpu_s": round(min(spent), 4),
        "memory_over_input": round((peak - before) / held, 3),
    }


def known(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def peak_reset() -> int:
    """Bytes resident now; from here on the peak counts anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(each.split()[1]) for each in lines if each.startswith(name))


def main() -> None:
    options = _options()
    if options.case:
        print(json.dumps(measured(options.case, options.rows, options.rounds)))
        return
    for name, (peer, _) in CASES.items():
        if options.only and not any(each in name for each in options.only):
            continue
        python = Path(options.peers) / peer / "bin" / "python" if peer else Path(sys.executable)
        if not python.exists():
            print(json.dumps({"case": name, "problem": f"{peer} is not installed under {options.peers}"}), flush=True)
            continue
        rounds = 1 if peer and not options.only else options.rounds
        command = [str(python), __file__, "--case", name, "--rows", str(options.rows), "--rounds", str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | SILENT)
        found = [line for line in done.stdout.splitlines() if line.startswith('{"case"')]
        print(*found or [json.dumps({"case": name, "problem": done.stderr.strip().splitlines()[-1:]})], flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default="peers", metavar="DIR")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases whose name contains one of these")
    parser.add_argument("--case", choices=list(CASES), help="this one, in this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()

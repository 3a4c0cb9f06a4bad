"""Estimated performance beside NannyML's on the same data: how far off the realised value, and processor time.

    .venv/bin/python benchmarks/performance_estimation.py [--rows 60000] [--rounds 3] [--peer PYTHON] [--flights]

``--peer`` is the Python of an environment that has nannyml (``uv venv peer && uv pip install -p peer nannyml``);
without it only our side runs. ``--flights`` takes the year of flights: CBPE against the same with density-ratio weights
(PAPE: Bialek et al., arXiv 2401.08348) and against a model of the label, each learned from the training set and from
the eight weeks before.

The binary data have a score that is miscalibrated, and inputs that shift from window to window, one half harder; the
regression has an error that grows with an input. CPU seconds are the smallest of the rounds, of fitting and estimating
together: for ours of the process from there on, for the peer's measured by itself in the same way, one after the other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tidegauge.config import Performance
from tidegauge.detectors.performance.answers import Answers
from tidegauge.detectors.performance.calibration import fit
from tidegauge.detectors.performance.estimators import Estimator, fitted
from tidegauge.detectors.performance.lessons import measurable
from tidegauge.detectors.performance.measured import Measured
from tidegauge.detectors.performance.reading import Rows
from tidegauge.detectors.performance.task import Task, infer
from tidegauge.detectors.traffic import Traffic, encoded

WINDOW = 2000
CLASSES, NUMBERS = ("roc_auc", "accuracy", "f1", "precision", "recall"), ("mae", "rmse")
FEATURES = ("x0", "x1", "x2", "x3")
Frame = pd.DataFrame
PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd, nannyml as nml
folder, rounds = sys.argv[1], int(sys.argv[2])
def least(make, reference, analysis):
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        model = make(); model.fit(reference); found = model.estimate(analysis)
        spent.append(time.process_time() - began)
    return found.to_df(), min(spent)
out = {}
r, a = (pd.read_parquet(f"{folder}/binary-{p}.parquet") for p in ("reference", "analysis"))
names = ["roc_auc", "accuracy", "f1", "precision", "recall"]
found, cpu = least(lambda: nml.CBPE(y_pred_proba="score", y_pred="said", y_true="truth", metrics=names,
    problem_type="classification_binary", chunk_size=2000), r, a)
rows = found[found["chunk"]["period"] == "analysis"]
out["binary"] = {"cpu": cpu, "values": {n: rows[n]["value"].tolist() for n in names}}
r, a = (pd.read_parquet(f"{folder}/regression-{p}.parquet") for p in ("reference", "analysis"))
found, cpu = least(lambda: nml.DLE(feature_column_names=["x0", "x1", "x2", "x3"], y_pred="said", y_true="truth",
    metrics=["mae", "rmse"], chunk_size=2000), r, a)
rows = found[found["chunk"]["period"] == "analysis"]
out["regression"] = {"cpu": cpu, "values": {n: rows[n]["value"].tolist() for n in ("mae", "rmse")}}
print(json.dumps(out))
"""


def binary(rng: np.random.Generator, rows: int, shift: bool) -> Frame:
    """A score that is too sure of itself; in the shifted half inputs near the boundary grow."""
    x = rng.normal(size=(rows, 4))
    if shift:
        x[rows // 2 :] *= np.linspace(1, 0.4, rows - rows // 2)[:, None]
    chance = 1 / (1 + np.exp(-(1.2 * x[:, 0] - 0.8 * x[:, 1] + 0.4 * x[:, 2] * x[:, 3])))
    score = 1 / (1 + np.exp(-1.6 * (1.2 * x[:, 0] - 0.8 * x[:, 1])))
    truth = (rng.random(rows) < chance).astype(int)
    return _frame(x, {"score": score, "said": (score >= 0.5).astype(int), "truth": truth})


def regression(rng: np.random.Generator, rows: int, shift: bool) -> Frame:
    """An error that grows with the first input, which grows in the second half."""
    x = rng.uniform(0, 1, size=(rows, 4))
    if shift:
        x[rows // 2 :, 0] = x[rows // 2 :, 0] ** np.linspace(1, 0.3, rows - rows // 2)
    said = 10 + 5 * x[:, 1] + x[:, 2]
    return _frame(x, {"said": said, "truth": said + rng.normal(size=rows) * (0.2 + 2 * x[:, 0])})


def rows_of(frame: Frame) -> Rows:
    """The frame as the detectors read it."""
    n = len(frame)
    said, truth = (encoded(pa.chunked_array([pa.array(frame[name].astype(str))])) for name in ("said", "truth"))
    score = frame["score"].to_numpy(np.float64) if "score" in frame else np.full(n, np.nan)
    traffic = Traffic(n, {name: frame[name].to_numpy(np.float64) for name in FEATURES}, {}, {})
    nothing = pa.chunked_array([pa.array([""] * n)])
    return Rows(said, truth, score, np.arange(n), np.zeros(n), traffic, (nothing, nothing))


def estimator(rows: Rows, task: Task, metrics: tuple[str, ...]) -> Estimator:
    """Fitted on all of ``rows``."""
    made, kept = measurable(task, rows, Performance())
    found = fitted(task, rows, made, kept, metrics)
    assert not isinstance(found, str), found
    return found


def ours(
    reference: Rows, analysis: Rows, metrics: tuple[str, ...], rounds: int
) -> tuple[dict[str, list[float]], float]:
    """Estimates by metric, and the smallest CPU seconds of fitting and estimating."""
    task = infer(reference.said, reference.label, reference.score)
    parts = [np.arange(at, at + WINDOW) for at in range(0, len(analysis), WINDOW)]

    def once() -> list[list[Any]]:
        return estimator(reference, task, metrics).estimate(analysis, parts, metrics, np.random.default_rng(0))

    spent = []
    for _ in range(rounds):
        began = time.process_time()
        made = once()
        spent.append(time.process_time() - began)
    return {name: [_value(each[at]) for each in made] for at, name in enumerate(metrics)}, min(spent)


def realised(analysis: Rows, metrics: tuple[str, ...]) -> dict[str, list[float]]:
    """The same metrics with the labels."""
    task = infer(analysis.said, analysis.label, analysis.score)
    made, _ = measurable(task, analysis, Performance())
    parts = [made.take(np.arange(at, at + WINDOW)) for at in range(0, len(analysis), WINDOW)]
    return {name: [_value(part.measure(name)) for part in parts] for name in metrics}


def compared(options: argparse.Namespace) -> None:
    """Both tasks, ours and the peer's."""
    rng = np.random.default_rng(3)
    kinds: dict[str, tuple[Callable[..., Frame], tuple[str, ...]]] = {
        "binary": (binary, CLASSES), "regression": (regression, NUMBERS),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        frames = {
            kind: (make(rng, options.rows, False), make(rng, options.rows, True)) for kind, (make, _) in kinds.items()
        }
        for kind, pair in frames.items():
            for name, frame in zip(("reference", "analysis"), pair, strict=True):
                frame.to_parquet(Path(folder) / f"{kind}-{name}.parquet")
        peer = _peer(options, folder)
    for kind, (_, metrics) in kinds.items():
        reference, analysis = map(rows_of, frames[kind])
        truth = realised(analysis, metrics)
        found, cpu = ours(reference, analysis, metrics, options.rounds)
        _say("tidegauge", kind, truth, found, cpu)
        if kind in peer:
            _say("nannyml", kind, truth, peer[kind]["values"], peer[kind]["cpu"])


def flights() -> None:
    """The demonstration's year, by week."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    from tidegauge.demo.flights.data import NUMERIC
    from tidegauge.demo.flights.stream import FlightsStream

    stream, week = FlightsStream(), 7 * 86_400
    every = [part.filter(part["late"].is_not_null()) for part in (stream.training, stream.later)]
    columns = [np.concatenate([part[name].to_numpy() for part in every]) for name in ("score", "late", "prediction")]
    score, late, said = (each.astype(np.float64) for each in columns)
    at = np.concatenate([part["timestamp"].dt.epoch("s").to_numpy() for part in every])
    x = np.concatenate([part.select(NUMERIC).to_numpy() for part in every])
    task, names = Task("binary", ("0", "1"), True), ("accuracy", "roc_auc", "f1", "brier")
    found: dict[str, list[list[float]]] = {}

    def trees(features: Any, target: Any) -> Any:
        with threadpool_limits(1, user_api="openmp"):
            return HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, early_stopping=False).fit(
                features, target
            )

    def note(method: str, truth: Any, rows: Any) -> None:
        made = Answers(task, said[rows], truth, score[rows], np.ones(len(rows)))
        found.setdefault(method, []).append([_value(made.measure(name)) for name in names])

    for end in range(int(at[len(every[0])]) // week * week + 2 * week, int(at.max()), week):
        here = np.flatnonzero((at >= end - week) & (at < end))
        note("realised", late[here], here)
        note("scores as they are", score[here], here)
        before = (at < end - week - 2 * 86_400) & (at >= end - 9 * week - 2 * 86_400)
        for name, own in {"training set": np.arange(len(every[0])), "eight weeks": np.flatnonzero(before)}.items():
            note(f"CBPE from {name}", fit(score[own], late[own])(score[here]), here)
            mixed = trees(np.vstack([x[own], x[here]]), np.repeat([0, 1], [len(own), len(here)]))
            odds = np.clip(mixed.predict_proba(x[own])[:, 1], 1e-4, 1 - 1e-4)
            weights = np.minimum(ratio := odds / (1 - odds), np.quantile(ratio, 0.99))
            note(f"PAPE from {name}", fit(score[own], late[own], weights)(score[here]), here)
            label = trees(np.column_stack([x[own], score[own]]), late[own])
            note(f"label model from {name}", label.predict_proba(np.column_stack([x[here], score[here]]))[:, 1], here)
    truth = np.array(found.pop("realised"))
    for method, values in found.items():
        off = np.abs(np.array(values) - truth).mean(axis=0)
        print(
            json.dumps({"flights": method, "weeks": len(truth), "off_by": dict(zip(names, off.round(4), strict=True))})
        )


def _peer(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    if not options.peer:
        return {}
    command = [options.peer, "-c", PEER, folder, str(options.rounds)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _say(who: str, kind: str, truth: dict[str, list[float]], found: dict[str, list[float]], cpu: float) -> None:
    off = {name: round(float(np.mean(np.abs(np.subtract(found[name], truth[name])))), 4) for name in truth}
    windows = len(next(iter(truth.values())))
    print(json.dumps({"who": who, "task": kind, "windows": windows, "off_by": off, "cpu_s": round(cpu, 3)}))


def _frame(x: Any, more: dict[str, Any]) -> Frame:
    return pd.DataFrame({name: x[:, at] for at, name in enumerate(FEATURES)} | more)


def _value(found: Any) -> float:
    return found.value if isinstance(found, Measured) else float("nan")


def main() -> None:
    """Print one line of JSON a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default="")
    parser.add_argument("--flights", action="store_true")
    options = parser.parse_args()
    if options.flights:
        flights()
    else:
        compared(options)


if __name__ == "__main__":
    main()

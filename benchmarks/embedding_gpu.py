"""MMD of 100,000 against 100,000 vectors on a GPU, beside alibi-detect on the same GPU where that is installed.

Needs torch; without a GPU it says so and ends with 2, unless --device cpu asks for the comparison of devices alone
(take fewer rows then). A GPU has to give the decision that numpy gives: that is checked first, on 2,000 rows.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegauge.detectors.statistics import Result, mmd

DIMENSIONS = 384
ROUNDS = 3


def vectors(rng: np.random.Generator, count: int, share: float) -> NDArray[np.float32]:
    """Unit vectors; ``share`` of them about a centre of their own."""
    rows = rng.normal(size=(count, DIMENSIONS)).astype(np.float32)
    rows[: round(share * count)] += 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def agree(device: str) -> bool:
    """Whether the device and numpy give the same value, p-value and decision, with a shift and without."""
    same = True
    for share in (0.0, 0.05):
        rng = np.random.default_rng(3)
        sides = vectors(rng, 2_000, 0.0), vectors(rng, 2_000, share)
        found = [_by_numpy(*sides), mmd(*sides, permutations=199, rng=np.random.default_rng(4), device=device)]
        for name, each in zip(("numpy", device), found, strict=True):
            assert isinstance(each, Result)
            print(f"  {share:.0%} new, {name:<6} MMD² {each.value:.8f}   p {each.p_value}")
        values = [(each.value, each.p_value) for each in found if isinstance(each, Result)]
        same = same and abs(values[0][0] - values[1][0]) < 1e-6 and values[0][1] == values[1][1]
    return same


def _by_numpy(reference: NDArray[np.float32], current: NDArray[np.float32]) -> Any:
    found = importlib.util.find_spec
    try:
        importlib.util.find_spec = lambda name, package=None: None if name == "torch" else found(name, package)
        return mmd(reference, current, permutations=199, rng=np.random.default_rng(4))
    finally:
        importlib.util.find_spec = found


def timed(what: str, work: Callable[[], object], torch: Any, device: str) -> None:
    """Wall seconds of the fastest of three rounds, transfers included, and the device's peak memory."""
    least = float("inf")
    try:
        for _ in range(ROUNDS):
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            begun = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            least = min(least, time.perf_counter() - begun)
    except torch.OutOfMemoryError:
        print(f"  {what:<40} does not fit into the GPU's memory")
        return
    peak = f"{torch.cuda.max_memory_allocated() / 2**20:>9,.0f} MiB" if device == "cuda" else ""
    print(f"  {what:<40}{least:>9.2f} s {peak}", flush=True)


def ours(reference: NDArray[np.float32], current: NDArray[np.float32], permutations: int, device: str) -> None:
    """Tidegauge's test."""
    mmd(reference, current, permutations=permutations, rng=np.random.default_rng(1), device=device)


def alibi(reference: NDArray[np.float32], current: NDArray[np.float32], permutations: int, device: str) -> None:
    """The peer's own test, from its own entry."""
    drift = importlib.import_module("alibi_detect.cd").MMDDrift
    drift(reference, backend="pytorch", n_permutations=permutations, device=device).predict(current)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="on each side")
    parser.add_argument("--permutations", type=int, default=100)
    asked = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        sys.exit("torch is not installed: pip install 'tidegauge[embeddings]'")
    torch = importlib.import_module("torch")
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("no GPU is to be seen here; --device cpu --rows 2000 compares torch with numpy on the CPU")
        sys.exit(2)
    name = torch.cuda.get_device_name() if asked.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}\nthe same decision as numpy:")
    if not agree(asked.device):
        sys.exit("the decisions differ")
    for rows in asked.rows:
        rng = np.random.default_rng(0)
        sides = vectors(rng, rows, 0.0), vectors(rng, rows, 0.05)
        print(f"{rows:,} against {rows:,} x {DIMENSIONS}, {asked.permutations} permutations, wall time")
        timed("tidegauge", partial(ours, *sides, asked.permutations, asked.device), torch, asked.device)
        if importlib.util.find_spec("alibi_detect"):
            peer = partial(alibi, *sides, asked.permutations, asked.device)
            timed("alibi-detect MMDDrift", peer, torch, asked.device)
        else:
            print("  alibi-detect is not installed: pip install 'alibi-detect[torch]'")

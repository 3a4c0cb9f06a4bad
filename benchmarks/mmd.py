"""Processor time of the exact MMD with its permutation test, beside the matrix product that it cannot do without.

    .venv/bin/python benchmarks/mmd.py [--rows 10000] [--dimensions 384] [--permutations 100] [--rounds 3]

Both on numpy, taking turns in one process; CPU seconds of all threads, the least of the rounds. The bound is half of
the Gram matrix of both samples together (it is symmetric), by matrix products of one thread in tiles of the same shape.
"""

from __future__ import annotations

import argparse

import numpy as np
from race import race
from threadpoolctl import threadpool_limits

from tidegauge.detectors.statistics import mmd

SIDE = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="of each sample")
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    both = rng.normal(size=(2 * given.rows, given.dimensions)).astype(np.float32)

    def gram() -> None:
        with threadpool_limits(1, user_api="blas"):
            for row in range(0, len(both), SIDE):
                for column in range(row, len(both), 4 * SIDE):
                    both[row : row + SIDE] @ both[column : column + 4 * SIDE].T

    def ours() -> object:
        halves = both[: given.rows], both[given.rows :]
        return mmd(*halves, permutations=given.permutations, rng=np.random.default_rng(1), device="cpu")

    found = race(given.rounds, {"bound: half of the Gram matrix": gram, "mmd with its permutations": ours})
    bound = next(iter(found.values()))
    for name, seconds in found.items():
        print(f"{name:<34}{seconds:8.2f} s{seconds / bound:8.2f} x")


if __name__ == "__main__":
    main()

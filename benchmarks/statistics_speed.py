"""The statistics against those of scipy: least CPU time of several runs, taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from tidegauge.detectors.statistics import NumericBins, chi_squared, ks, wasserstein

SIZES = [(80_000, 1_000), (1_000_000, 1_000_000)]
RUNS = 7


def cpu_ms(*works: Callable[[], object]) -> list[float]:
    """Least CPU milliseconds of each, run in turns so that a busy moment hits all alike."""
    least = [float("inf")] * len(works)
    for _ in range(RUNS):
        for at, work in enumerate(works):
            began = time.process_time()
            work()
            least[at] = min(least[at], 1000 * (time.process_time() - began))
    return least


def report(what: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    mine, other = cpu_ms(ours, theirs)
    print(f"{what:<34}{mine:>10.3f} ms{other:>12.3f} ms{other / mine:>9.1f} x")


def compare(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    reference, current = np.sort(rng.normal(size=n)), rng.normal(size=m)
    bins = NumericBins.fit(reference)
    edges, counted = np.array(bins.edges), bins.counts(reference)
    found = bins.counts(current)
    print(f"\n{n:,} reference rows, sorted, and {m:,} current{'ours':>12}{'scipy/numpy':>15}{'ratio':>11}")
    report(
        "ks",
        lambda: ks(reference, current, reference_sorted=True),
        lambda: stats.ks_2samp(reference, current, method="asymp"),
    )
    report(
        "wasserstein (ours with a p-value)",
        lambda: wasserstein(reference, current, reference_sorted=True),
        lambda: stats.wasserstein_distance(reference, current),
    )
    report("counts in 10 cells", lambda: bins.counts(current), lambda: np.bincount(np.searchsorted(edges, current)))
    report(
        "chi_squared",
        lambda: chi_squared(counted, found),
        lambda: stats.chi2_contingency([counted, found], correction=False),
    )


if __name__ == "__main__":
    for rows in SIZES:
        compare(*rows)

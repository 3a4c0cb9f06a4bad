"""The metrics by name: which way is better, and how large a change has to be to matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tidegauge.detectors.performance import ranking

BINARY = ("accuracy", "precision", "recall", "f1", "roc_auc", "average_precision", "log_loss", "brier", "ece")
MULTICLASS = BINARY[:5] + BINARY[6:]
REGRESSION = ("mae", "rmse", "mape", "smape", "bias", "r2")
CORRELATION = "correlation:"
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "mae", "rmse", "mape", "smape"})
SHARES = frozenset({*BINARY[:6], "ece"})
"""Which lie in 0..1, as those of rankings do."""
RELATIVE = frozenset({"log_loss", "brier", "mae", "rmse", "mape", "smape"})


def bounds(metric: str) -> tuple[float, float]:
    """The smallest and the largest value that a metric can have."""
    if metric in SHARES or "@" in metric:
        return 0.0, 1.0
    return (0.0 if metric in LOWER_IS_BETTER else -math.inf), (1.0 if metric == "r2" else math.inf)


@dataclass(frozen=True, slots=True)
class Nature:
    """``sign``: 1 where more is better, -1 where less is, 0 where any distance from the baseline is worse.

    ``relative``: the floor is a share of the baseline, because the metric has no natural range.
    """

    sign: int
    relative: bool


def nature(metric: str) -> Nature:
    """What is known of ``metric`` by its name.

    >>> nature("mae"), nature("ndcg@10")
    (Nature(sign=-1, relative=True), Nature(sign=1, relative=False))
    """
    if metric == "bias":
        return Nature(0, False)
    return Nature(-1 if metric in LOWER_IS_BETTER else 1, metric in RELATIVE)


def names(task: str, k: int) -> tuple[str, ...]:
    """The metrics of a task, all that there are."""
    every: Mapping[str, tuple[str, ...]] = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}
    return every[task] if task in every else ranking.names(k)

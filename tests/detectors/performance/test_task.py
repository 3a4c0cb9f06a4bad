"""What a model is asked is told from what it said and what came true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tidegauge.detectors.performance.task import infer
from tidegauge.detectors.traffic import Category

FEW = [str(1 + number % 5) for number in range(100)]
MANY = [str(number / 8) for number in range(100)]


def column(values: Sequence[str]) -> Category:
    names = tuple(dict.fromkeys(values))
    return Category(np.array([names.index(each) for each in values], dtype=np.int32), names)


@pytest.mark.parametrize(
    ("said", "label", "kind"),
    [
        (MANY, MANY, "regression"),
        (FEW, MANY, "regression"),
        (MANY, FEW, "regression"),  # ratings, foretold between them
        (FEW, FEW, "multiclass"),
        (MANY, ["good" if each == "5" else each for each in FEW], "multiclass"),
        (["0", "1"] * 50, ["1", "0"] * 50, "binary"),
        (['["a", "b"]'] * 100, ["a"] * 100, "ranking"),
    ],
)
def test_the_kind_of_a_task(said: Sequence[str], label: Sequence[str], kind: str) -> None:
    assert infer(column(said), column(label), np.full(100, np.nan)).kind == kind

"""Marks for tests of what is only there with an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T", bound=Callable[..., None])


def needs_embeddings(test: T) -> T:
    missing = importlib.util.find_spec("sentence_transformers") is None
    marks = [pytest.mark.embeddings, pytest.mark.skipif(missing, reason="needs the embeddings extra")]
    for mark in [*marks, pytest.mark.filterwarnings("default")]:
        test = mark(test)
    return test

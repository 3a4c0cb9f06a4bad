"""The embedded store with the synthetic week in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tidegauge.store import Store

sys.path.append(str(Path(__file__).parent))
from synthetic import TRACE_WITH_ERROR, fill


@pytest.fixture
def week(_store: Store, request: pytest.FixtureRequest) -> Store:
    """The store with a week of telemetry, the same in every run; only to be read, so that tests can share it."""
    if _store.value("SELECT count() FROM otel_traces WHERE TraceId = {id:String}", {"id": TRACE_WITH_ERROR}) == 0:
        _fill(request.getfixturevalue("store"))
    return _store


@pytest.fixture
def own_week(store: Store) -> Iterator[Store]:
    """The same week for a test that adds to it."""
    _fill(store)
    yield store
    store.execute("TRUNCATE TABLE otel_traces")  # the next reader of the shared week fills it again


def _fill(store: Store) -> None:
    fill(store, np.random.default_rng(7))

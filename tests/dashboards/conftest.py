"""A migrated embedded store, empty or with the synthetic week in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tidegauge.collectors.schema.migrate import migrate
from tidegauge.store import Store

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def _dashboards_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(f"chdb://{tmp_path_factory.mktemp('dashboards')}")
    migrate(store)
    yield store
    store.close()


@pytest.fixture
def store(_dashboards_store: Store) -> Store:
    empty(_dashboards_store)
    return _dashboards_store


@pytest.fixture
def week(store: Store) -> Store:
    """The store with a week of telemetry, the same in every run."""
    from synthetic import fill

    fill(store, np.random.default_rng(7))
    return store


def empty(store: Store) -> None:
    names = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for row in store.rows(names):
        if row["name"] != "schema_migrations":
            store.execute(f"TRUNCATE TABLE {row['name']}")

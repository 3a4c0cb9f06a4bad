"""Real processes, a real broker and an oracle; see docs/reliability.md."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

sys.path.append(str(Path(__file__).parent))

if TYPE_CHECKING:
    from broker import KafkaBroker
    from processes import ClickHouse
    from system import System
    from topics import Topics


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Starting processes takes seconds each: but for a sample, these tests are left to ``make reliability``."""
    from results import FULL

    here = Path(__file__).parent
    left = [each for each in items if here in each.path.parents and not (FULL or each.get_closest_marker("sample"))]
    if left and not config.option.keyword and len(left) < len(items):
        config.hook.pytest_deselected(items=left)
        items[:] = [each for each in items if each not in left]


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """ClickHouse's engine in a process of its own, for tests that leave it as it is."""
    from processes import ClickHouse

    with ClickHouse(tmp_path_factory.mktemp("engine") / "data") as running:
        yield running


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    """One for this test alone, to kill, freeze and slow down."""
    from processes import ClickHouse

    with ClickHouse(tmp_path / "engine" / "data") as running:
        yield running


@pytest.fixture
def topics(kafka_broker: KafkaBroker) -> Iterator[Topics]:
    """The signals' topics, empty, with two partitions each."""
    from topics import Topics

    with Topics(kafka_broker, 2) as fresh:
        yield fresh


@pytest.fixture
def system(topics: Topics, clickhouse: ClickHouse, tmp_path: Path, name: str) -> Iterator[System]:
    """Processes of Tidegauge in front of a ClickHouse that others use too."""
    from system import System

    with System(topics, clickhouse, tmp_path, name) as ready:
        yield ready


@pytest.fixture
def own_system(topics: Topics, own_clickhouse: ClickHouse, tmp_path: Path, name: str) -> Iterator[System]:
    """Processes of Tidegauge in front of a ClickHouse of this test's own."""
    from system import System

    with System(topics, own_clickhouse, tmp_path, name) as ready:
        yield ready


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """For HTTP on this machine."""
    with httpx.Client(trust_env=False, timeout=60) as ready:
        yield ready


@pytest.fixture
def name() -> str:
    """A word that no other test has, for a group, a database and a service."""
    return f"r{uuid.uuid4().hex[:12]}"

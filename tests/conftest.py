"""Fixtures that more than one test file uses: the seed, free ports, a real Kafka broker, a real browser.

A broker or a browser that the machine cannot give is a reason to skip at home and a failure where ``CI=true``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest

if TYPE_CHECKING:
    from broker import KafkaBroker
    from selenium.webdriver import Chrome

    from tidegauge.store import Store

SEED_VARIABLE = "TIDEGAUGE_TEST_SEED"
SEED = pytest.StashKey[int]()
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1400,1000",
)

sys.path += [str(Path(__file__).parent / folder) for folder in ("kafka_broker", "common")]


def pytest_configure(config: pytest.Config) -> None:
    # in the environment, so that the processes of pytest-xdist draw from the same seed
    config.stash[SEED] = int(os.environ.setdefault(SEED_VARIABLE, str(secrets.randbelow(2**32))))


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.stash[SEED]} (repeat with {SEED_VARIABLE}={config.stash[SEED]})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(pytest_report_header(config))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of this test's own: the same for the same seed, whatever other tests run."""
    return np.random.default_rng([request.config.stash[SEED], zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture
def unused_port() -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago."""
    from broker import free_ports

    return free_ports(1)[0]


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """One broker for the whole run, started for the first test that asks; to break one, take ``own_kafka_broker``."""
    yield from _broker()


@pytest.fixture
def own_kafka_broker() -> Iterator[KafkaBroker]:
    """A broker for this test alone, to kill, pause and restart."""
    yield from _broker()


@pytest.fixture
def browser(_chromium: Chrome) -> Chrome:
    """Headless Chromium through selenium, on an empty page and without cookies."""
    _chromium.delete_all_cookies()
    _chromium.get("about:blank")
    return _chromium


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Chrome]:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    driver_path, browser_path = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or browser_path is None:
        _unavailable("a browser test needs chromium and chromedriver (Debian: chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = browser_path
    for flag in CHROMIUM_FLAGS:
        options.add_argument(flag)
    driver = Chrome(options, ChromeService(driver_path, log_output=subprocess.DEVNULL))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def _broker() -> Iterator[KafkaBroker]:
    from broker import KafkaBroker, missing_programs

    missing = missing_programs()
    if missing:
        _unavailable(f"a Kafka test needs {' and '.join(missing)} (Debian: default-jre-headless maven)")
    with KafkaBroker() as broker:
        yield broker


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; nothing is skipped where CI=true", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    from tidegauge.collectors.schema import migrate
    from tidegauge.store import Store

    store = Store(f"chdb://{tmp_path_factory.mktemp('clickhouse')}")
    migrate(store)
    yield store
    store.close()


@pytest.fixture
def store(_store: Store) -> Store:
    """An embedded database with the newest schema and no rows. A process can have only one, so tests share it."""
    kept = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for row in _store.rows(kept):
        if row["name"] != "schema_migrations":
            _store.execute(f"TRUNCATE TABLE {row['name']}")
    return _store

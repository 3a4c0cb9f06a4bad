"""The page in a real browser: it draws, it logs no error, and hostile telemetry runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from serving import served
from synthetic import DRIFTED, END, TRACE_WITH_ERROR

from tidegauge.clock import ReplayClock
from tidegauge.config import Settings
from tidegauge.dashboards.boards import BOARDS
from tidegauge.dashboards.page import create_app
from tidegauge.store import Store

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser
DRAWN = "return !document.querySelector('[data-panel]:not([data-state=drawn]), [data-finding]:not([data-state=drawn])')"
COUNT = "return document.querySelectorAll(arguments[0]).length"


@pytest.fixture
def address(week: Store) -> Iterator[str]:
    clock = ReplayClock(END + timedelta(days=7), frozen=True)
    with served(create_app(week, Settings(), clock)) as url:
        yield url


def logged(browser: Chrome) -> list[str]:
    """Errors and warnings on the console since it was last asked."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [each["message"] for each in entries if each["level"] in ("SEVERE", "WARNING")]


def opened(browser: Chrome, address: str, width: int = 1280) -> None:
    """Open ``address`` in a window high enough that every panel is drawn, and wait for that."""
    from selenium.webdriver.support.ui import WebDriverWait

    logged(browser)
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 6000, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(address)
    WebDriverWait(browser, 30, 0.05).until(lambda driver: driver.execute_script(DRAWN))


def assert_calm(browser: Chrome) -> None:
    assert logged(browser) == []
    assert browser.execute_script("return window.pwned") is None


def test_the_console_is_really_read(browser: Chrome, address: str) -> None:
    opened(browser, address)
    browser.execute_script("document.body.setAttribute('style', 'color: red')")
    assert any("Content Security Policy" in each for each in logged(browser))


def test_the_overview_has_the_alerts_and_the_drift_table(browser: Chrome, address: str) -> None:
    opened(browser, address)
    assert "Refusals of prompt v8 rose" in browser.find_element("css selector", ".alert.firing h3").text
    rows = browser.find_elements("css selector", "#drift tbody tr")
    assert [row.find_element("css selector", "b").text for row in rows][:3] == ["score", "taxi_out_min", "taxi_out_min"]
    assert browser.execute_script(COUNT, ".tile path") >= 7
    assert_calm(browser)


def test_a_row_of_the_drift_table_leads_to_its_charts(browser: Chrome, address: str) -> None:
    opened(browser, f"{address}/drift/{DRIFTED}")
    assert browser.execute_script(COUNT, "[data-draw=bins] .bars .point") == 10
    assert browser.execute_script(COUNT, "[data-draw=course] .scatterlayer .point") == 14
    assert_calm(browser)


@pytest.mark.parametrize("board", [pytest.param(each.uid, id=each.uid) for each in BOARDS])
def test_a_board_draws_all_its_panels_without_an_error(browser: Chrome, address: str, board: str) -> None:
    opened(browser, f"{address}/boards/{board}?from=-7d")
    assert browser.execute_script(COUNT, ".panel .failed") == 0
    assert browser.execute_script(COUNT, ".js-plotly-plot .main-svg") > 0
    assert_calm(browser)


def test_a_trace_is_a_waterfall_whose_spans_open(browser: Chrome, address: str) -> None:
    opened(browser, f"{address}/traces/{TRACE_WITH_ERROR}")
    spans = browser.find_elements("css selector", "#waterfall > .span")
    assert len(spans) == 3 and "failed" in (spans[1].get_attribute("class") or "")
    bars = [
        float((each.get_attribute("width") or "").rstrip("%"))
        for each in browser.find_elements("css selector", "rect.fill")
    ]
    assert bars[0] > bars[1] > bars[2] > 0
    spans[1].find_element("css selector", "summary").click()
    assert "<script>window.pwned=1</script>" in spans[1].find_element("css selector", "pre.text:last-of-type").text
    assert_calm(browser)


@pytest.mark.parametrize(
    "path",
    ["/", "/alerts", "/traces", f"/traces/{TRACE_WITH_ERROR}", "/boards/tidegauge-drift", "/models/flight-delay"],
)
def test_a_narrow_screen_never_scrolls_sideways(browser: Chrome, address: str, path: str) -> None:
    opened(browser, address + path, width=400)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    assert_calm(browser)

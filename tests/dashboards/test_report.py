"""The drift report: one file that says what it knows, and loads and runs nothing."""

from __future__ import annotations

import re
from datetime import timedelta

from synthetic import END, HOSTILE

from tidegauge.dashboards.report import drift_report
from tidegauge.model import Window
from tidegauge.store import Store

LAST_DAYS = Window(END - timedelta(days=3), END)


def test_a_report_names_every_drift_with_its_bars(week: Store) -> None:
    text = drift_report(week, "flight-delay", LAST_DAYS, END)
    assert re.findall(r"<h3>(\w+)", text) == ["score", "taxi_out_min", "taxi_out_min"]
    assert text.count("<rect") == 4 * 5 * 2
    assert "45 %" in text and "&lt; 0.0001" in text


def test_a_report_loads_and_runs_nothing_and_shows_markup_as_text(week: Store) -> None:
    text = drift_report(week, "flight-delay", LAST_DAYS, END)
    assert HOSTILE not in text and "&lt;script&gt;" in text
    assert not re.search(r"<(script|link|img|iframe|a)\b|<[^>]+\b(src|href)=|url\(", text)


def test_a_report_tells_undetermined_and_untested_from_quiet(week: Store) -> None:
    bot = drift_report(week, "support-bot", LAST_DAYS, END)
    assert "120 texts are too few" in bot and "Nothing drifted" in bot
    nobody = drift_report(week, "nobody", LAST_DAYS, END)
    assert "nothing can be said" in nobody and "Nothing drifted" not in nobody

"""A drift report in one file, to hand to somebody who has no access here: no script, nothing to load."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tidegauge.dashboards.page import findings
from tidegauge.dashboards.page.overview import Drift, latest_findings, open_drifts
from tidegauge.dashboards.page.text import environment
from tidegauge.model import Window
from tidegauge.store import Store

CHARTS = 30


def drift_report(store: Store, subject: str, window: Window, written_at: datetime) -> str:
    """HTML of what drifted of ``subject`` (a model or a service) in test windows that ended within ``window``.

    The answers come first, then the distributions of the 30 most important findings, then what could not be told.
    """
    found = [row for row in latest_findings(store, window.end) if _belongs(row, subject, window)]
    drifts = open_drifts(found)
    return (
        environment()
        .get_template("report.html")
        .render(
            subject=subject,
            window=window,
            written_at=written_at,
            tests=len(found),
            drifts=drifts,
            charts=[_chart(store, each) for each in drifts[:CHARTS]],
            undetermined=[row for row in found if row["verdict"] == "undetermined"],
        )
    )


def _belongs(row: dict[str, Any], subject: str, window: Window) -> bool:
    return bool(row["subject"] == subject and window.start <= row["window_end"] <= window.end)


def _chart(store: Store, drift: Drift) -> dict[str, Any]:
    found = findings.finding(store, drift.finding["finding_id"]) or drift.finding | {"bins": None}
    shares = found["bins"]
    return {"found": found, "bars": _bars(shares) if shares else []}


def _bars(shares: dict[str, list[Any]]) -> list[tuple[str, float, float, float, float]]:
    """Label, both shares, and both widths in percent of the widest bar."""
    widest = max(*shares["reference"], *shares["current"], 1e-9)
    return [
        (label, before, now, round(100 * before / widest, 2), round(100 * now / widest, 2))
        for label, before, now in zip(shares["labels"], shares["reference"], shares["current"], strict=True)
    ]

"""The built-in page: everything the boards and detectors know, without a Grafana and without a network."""

from __future__ import annotations

from tidegauge.dashboards.page.app import create_app

__all__ = ["create_app"]

"""Every board, in the order of the menu."""

from __future__ import annotations

from tidegauge.dashboards.boards.alerts import ALERTS
from tidegauge.dashboards.boards.behaviour import BEHAVIOUR
from tidegauge.dashboards.boards.cost import COST
from tidegauge.dashboards.boards.drift import DRIFT
from tidegauge.dashboards.boards.health import HEALTH
from tidegauge.dashboards.boards.performance import PERFORMANCE
from tidegauge.dashboards.boards.pipeline import PIPELINE
from tidegauge.dashboards.boards.predictions import PREDICTIONS
from tidegauge.dashboards.boards.quality import QUALITY
from tidegauge.dashboards.boards.safety import SAFETY
from tidegauge.dashboards.panels import Board

_MODELS = (DRIFT, PREDICTIONS, PERFORMANCE)
BOARDS: tuple[Board, ...] = (HEALTH, COST, *_MODELS, QUALITY, BEHAVIOUR, SAFETY, ALERTS, PIPELINE)


def board(uid: str) -> Board | None:
    """The board with this uid, or None."""
    return next((each for each in BOARDS if each.uid == uid), None)

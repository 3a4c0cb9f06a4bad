"""The reference of a model, as the drift loop would read it for a window that ends now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeAlias

import numpy as np

from tidegauge.config import Detectors, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.freezing import Freezes
from tidegauge.detectors.predictions import Predictions
from tidegauge.detectors.references import Datum, References
from tidegauge.detectors.schedule import EPOCH, watch_of
from tidegauge.detectors.sequential.family import Family
from tidegauge.detectors.sequential.rollups import Hours
from tidegauge.detectors.sequential.round import SequentialRound
from tidegauge.errors import TidegaugeError
from tidegauge.incidents import Incidents
from tidegauge.model import Window
from tidegauge.store import Store

MOST = 2_000_000
"""Values, of streams times hours, that are replayed of a family: of more streams the first."""
Families: TypeAlias = dict[str, tuple[Family, Hours]]


def reference_of(store: Store, settings: Detectors, model: str, now: datetime) -> tuple[Watch, Datum, Families]:
    """The watch of ``model``, its reference with rows, and the hours that its sequential tests stand on, by family.

    Raises:
        TidegaugeError: the model is not watched, or has no predictions.
    """
    predictions = Predictions(store, settings.max_rows)
    known = predictions.models(now)
    watch = watch_of(model, settings.models)
    if model not in known:
        raise TidegaugeError(
            f"there are no predictions of {model!r}; there are of: {', '.join(known) or 'nothing yet'}"
        )
    if watch is None:
        raise TidegaugeError(f"{model!r} is not watched: add it to detectors.models")
    step = timedelta(hours=watch.step_hours)
    end = EPOCH + (now - EPOCH) // step * step
    window = Window(end - timedelta(hours=watch.window_hours), end)
    incidents = Incidents(settings.incidents, settings.incident_files)
    references = References(predictions, incidents, Freezes(store), lambda *_: None)
    references.refresh(model, watch, now)
    datum = references.of(model, watch, window, drift.dimensions_of(watch))
    round_ = SequentialRound(store, settings)
    found = {name: round_.past(model, name, watch, end, now) for name in ("outputs", "features")}
    return watch, datum, {name: (past[0], _of(*past)) for name, past in found.items() if past}


def _of(family: Family, parts: Iterable[Hours]) -> Hours:
    """The hours of the streams that are monitored, as many as can be replayed."""
    wanted, kept, room = set(family.streams), list[Hours](), MOST
    for hours in parts:
        kept.append(
            hours.only(np.array([at for at, each in enumerate(hours.streams) if each in wanted], dtype=np.intp))
        )
        room -= kept[-1].means.size
        if room <= 0:
            break
    return Hours.joined(kept)

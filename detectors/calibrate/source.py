"""The reference of a model, as the drift loop would read it for a window that ends now."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegauge.config import Detectors, Watch
from tidegauge.detectors import drift
from tidegauge.detectors.freezing import Freezes
from tidegauge.detectors.predictions import Predictions
from tidegauge.detectors.references import Datum, References
from tidegauge.detectors.schedule import EPOCH, watch_of
from tidegauge.detectors.sequential.family import Family
from tidegauge.detectors.sequential.round import SequentialRound
from tidegauge.errors import TidegaugeError
from tidegauge.incidents import Incidents
from tidegauge.model import Window
from tidegauge.store import Store


def reference_of(store: Store, settings: Detectors, model: str, now: datetime) -> tuple[Watch, Datum, Family | None]:
    """The watch of ``model``, its reference with rows, and the hours that its sequential tests stand on.

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
    return watch, datum, SequentialRound(store, settings).family(model, "outputs", watch, end, now)

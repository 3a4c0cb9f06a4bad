"""The SDK: one line to start, and what a service says about its models from then on."""

from tidegauge.collectors.sdk.client import Client
from tidegauge.collectors.sdk.headers import trace_headers
from tidegauge.collectors.sdk.start import current_client, init
from tidegauge.collectors.sdk.track import last_prediction_id, last_prediction_ids, track_predictions

__all__ = [
    "Client",
    "current_client",
    "init",
    "last_prediction_id",
    "last_prediction_ids",
    "trace_headers",
    "track_predictions",
]

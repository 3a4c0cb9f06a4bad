"""Tidegauge: what changed in a model's traffic, since when, for whom, how sure it is, and what to do.

A service needs one line::

    client = tidegauge.init("checkout")

Two frames need none::

    print(tidegauge.compare(reference, current))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Middleware",
    "__version__",
    "compare",
    "current_client",
    "init",
    "last_prediction_id",
    "last_prediction_ids",
    "trace_headers",
    "track_predictions",
]

if TYPE_CHECKING:
    from tidegauge.collectors.integrations.asgi import Middleware
    from tidegauge.collectors.sdk import (
        Client,
        current_client,
        init,
        last_prediction_id,
        last_prediction_ids,
        trace_headers,
        track_predictions,
    )
    from tidegauge.detectors.compare import compare


def __getattr__(name: str) -> object:
    """The SDK's names, loaded when first used, so that the command line starts quickly."""
    if name == "Middleware":
        from tidegauge.collectors.integrations.asgi import Middleware

        return Middleware
    if name == "compare":
        from tidegauge.detectors.compare import compare

        return compare
    if name in __all__:
        from tidegauge.collectors import sdk

        return getattr(sdk, name)
    raise AttributeError(f"module 'tidegauge' has no attribute {name!r}")

"""Named metrics: what alert rules watch and panels draw, each one SQL statement over any window, slice and filter."""

from tidegauge.metrics.catalogue import METRICS
from tidegauge.metrics.examples import examples
from tidegauge.metrics.intervals import wilson
from tidegauge.metrics.model import Kind, Metric, Observation, Source
from tidegauge.metrics.own import OwnMetric
from tidegauge.metrics.query import MAX_SERIES, label_name, observe, statement

__all__ = [
    "MAX_SERIES",
    "METRICS",
    "Kind",
    "Metric",
    "Observation",
    "OwnMetric",
    "Source",
    "examples",
    "label_name",
    "observe",
    "statement",
    "wilson",
]

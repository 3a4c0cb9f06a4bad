"""Two frames compared: the questions and verdicts of the drift loop, for data at hand, without a service."""

from tidegauge.detectors.compare.compare import compare
from tidegauge.detectors.compare.result import Comparison

__all__ = ["Comparison", "compare"]

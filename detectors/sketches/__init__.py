"""Sketches: what was in a stretch of time as counts in frozen cells, from which any two windows are compared."""

from tidegauge.detectors.sketches.rollup import Rollup

__all__ = ["Rollup"]

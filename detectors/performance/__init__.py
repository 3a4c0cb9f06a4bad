"""Performance of models: measured from labels that come late, and estimated while they are missing."""

from tidegauge.detectors.performance.rounds import PerformanceRound

__all__ = ["PerformanceRound"]

"""Change detectors for rows that come one by one, with the mean time to a false alarm as their one knob."""

from tidegauge.detectors.streaming.alarm import Alarm
from tidegauge.detectors.streaming.mean import MeanDetector
from tidegauge.detectors.streaming.ranks import RankDetector

__all__ = ["Alarm", "MeanDetector", "RankDetector"]

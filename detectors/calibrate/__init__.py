"""What the detectors would do on a user's own traffic: false alarms, power and delay, by replaying its reference."""

from tidegauge.detectors.calibrate.report import Calibration, calibrate
from tidegauge.detectors.calibrate.source import reference_of

__all__ = ["Calibration", "calibrate", "reference_of"]

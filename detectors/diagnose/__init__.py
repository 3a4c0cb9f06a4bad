"""Why a model changed: labels and logging, data, concept, model, downstream, in that order; then causes, ranked."""

from tidegauge.detectors.diagnose.diagnosis import Check, Diagnosis, diagnose
from tidegauge.detectors.diagnose.ranking import Cause
from tidegauge.detectors.diagnose.reader import Asked
from tidegauge.detectors.diagnose.verdict import Level, Stage, Verdict

__all__ = ["Asked", "Cause", "Check", "Diagnosis", "Level", "Stage", "Verdict", "diagnose"]

"""Failures of the week for the golden set: gathered from what is stored, deduplicated, diverse, with reasons."""

from tidegauge.judges.golden.loop import GoldenLoop
from tidegauge.judges.golden.proposing import Proposing

__all__ = ["GoldenLoop", "Proposing"]

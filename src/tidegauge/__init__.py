"""Tidegauge: what changed in a model's traffic, since when, for whom, how sure it is, and what to do."""

__version__ = "0.1.0"

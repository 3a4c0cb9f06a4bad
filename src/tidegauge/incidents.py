"""Incidents that are known, from the configuration and from files that may change while a service runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from tidegauge.config import Incident, Section
from tidegauge.errors import ConfigError
from tidegauge.model import Window

LOG = logging.getLogger(__name__)


class Listed(Section):
    """A file of incidents."""

    incidents: tuple[Incident, ...]


class Incidents:
    """The incidents of ``listed`` and of ``files``, which are read again when they change.

    Raises:
        ConfigError: a file cannot be read or is no list of incidents. Later such a file is logged, and what it said
            before still holds.
    """

    def __init__(self, listed: Sequence[Incident] = (), files: Sequence[Path] = ()) -> None:
        self._listed = tuple(listed)
        self._files = {path: (_changed(path), read(path)) for path in files}

    def of(self, model: str) -> tuple[Incident, ...]:
        """Those that touched ``model``."""
        return tuple(each for each in self.all() if each.touches(model))

    def all(self) -> tuple[Incident, ...]:
        """Every one that is known."""
        for path in self._files:
            self._refresh(path)
        return (*self._listed, *(each for _, found in self._files.values() for each in found))

    def _refresh(self, path: Path) -> None:
        before, found = self._files[path]
        try:
            if (now := _changed(path)) != before:
                self._files[path] = now, read(path)
        except (OSError, ConfigError) as error:
            if before:
                LOG.error("incidents: %s; what the file said before still holds", error)
            self._files[path] = 0.0, found


def read(path: Path) -> tuple[Incident, ...]:
    """The incidents of a YAML file. Raises ConfigError."""
    try:
        return Listed.model_validate(yaml.safe_load(path.read_text())).incidents
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read as YAML: {error}"]) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ConfigError(str(path), problems) from error


def overlapping(incidents: Sequence[Incident], span: Window) -> list[Incident]:
    """Those that share a moment with ``span``."""
    return [each for each in incidents if each.start < span.end and span.start < each.end]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

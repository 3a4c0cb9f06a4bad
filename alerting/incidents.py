"""Incidents that are known: when something was wrong, and which rules should have said so."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tidegauge.alerting.documents import Document
from tidegauge.alerting.forms import Strict
from tidegauge.config import Incident
from tidegauge.errors import ConfigError

__all__ = ["Incident", "IncidentFile", "read_incidents"]


class IncidentFile(Strict):
    """The whole file."""

    incidents: tuple[Incident, ...]


def read_incidents(path: Path) -> tuple[Incident, ...]:
    """The incidents of a YAML file. Raises ConfigError, which lists every problem with its line."""
    problems: list[str] = []
    document = Document.read(path, problems)
    if document is None:
        raise ConfigError(str(path), problems)
    try:
        return IncidentFile.model_validate(document.data).incidents
    except ValidationError as error:
        lines = [f"{path}:{document.line(each['loc'])}: {each['msg']}" for each in error.errors()]
        raise ConfigError("incidents", lines) from None

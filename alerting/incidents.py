"""Incidents that are known: when something was wrong, and which rules should have said so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator

from tidegauge.alerting.documents import Document
from tidegauge.alerting.rules import Name, Strict
from tidegauge.errors import ConfigError


class Incident(Strict):
    """One stretch in which something was wrong."""

    name: Name
    start: datetime = Field(description="first moment; in UTC unless it says otherwise")
    end: datetime = Field(description="first moment after")
    alerts: tuple[str, ...] = Field((), description="rules that should have told of it; none: any of them")

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"must end after it starts, got {self.start} to {self.end}")
        return self

    def concerns(self, rule: str) -> bool:
        """Whether an alert of ``rule`` tells of it."""
        return not self.alerts or rule in self.alerts

    def holds(self, moment: datetime) -> bool:
        """Whether it was going on at ``moment``."""
        return self.start <= moment < self.end


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

"""``tidegauge diagnose``: why a model changed, from the tables or from a running service."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import Settings
from tidegauge.config import load as load_settings
from tidegauge.running import Page, reach

Model = Annotated[str, typer.Argument(help="A model, as its predictions name it.")]
Since = Annotated[
    datetime | None, typer.Option(help="When it began, in UTC. default: found by scanning the last weeks")
]
Until = Annotated[datetime | None, typer.Option(help="Last moment, in UTC. default: the newest prediction")]
History = Annotated[float, typer.Option(min=3, max=400, help="Days before --since to compare with.")]


def diagnose(
    model: Model,
    since: Since = None,
    until: Until = None,
    history: History = 42,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Say why a model changed: labels and logging, data, concept, model, downstream; then causes and what to do."""
    from tidegauge.detectors.diagnose.text import as_text

    moments = [each.replace(tzinfo=UTC) if each else None for each in (since, until)]
    found = ask(load_settings(config), model, moments[0], moments[1], history)
    typer.echo(json.dumps(found) if json_output else as_text(found))


def ask(
    settings: Settings, model: str, since: datetime | None, until: datetime | None, history: float = 42
) -> dict[str, Any]:
    """The diagnosis as plain data; of a running service where that has the database open.

    Raises:
        TidegaugeError: the model has no predictions, or too few before the change, or nothing can be reached.
    """
    found = reach(settings)
    if isinstance(found, Page):
        wanted = {"since": since.isoformat() if since else "", "until": until.isoformat() if until else ""}
        query = {name: value for name, value in wanted.items() if value} | {"history": f"{history:g}"}
        answer: dict[str, Any] = found.get(f"/api/diagnosis/{quote(model, safe='')}", query).json()
        return answer
    from tidegauge.detectors.diagnose import Asked
    from tidegauge.detectors.diagnose import diagnose as examine
    from tidegauge.detectors.diagnose.text import as_json
    from tidegauge.detectors.schedule import watch_of

    watch = watch_of(model, settings.detectors.models)
    slices = watch.slices if watch else ()
    end = until or datetime.now(UTC)
    return as_json(examine(found, Asked(model, end, since, timedelta(days=history), slices)))

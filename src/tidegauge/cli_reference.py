"""``tidegauge reference``: training sets that windows are compared with."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegauge.cli_load import (
    At,
    Column,
    Endpoint,
    Exclude,
    Features,
    Id,
    KeyFile,
    Label,
    Slices,
    Text,
    Unit,
    Zone,
)
from tidegauge.cli_load import load as load_files
from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import load as load_settings
from tidegauge.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Training sets that windows are compared with.")

Model = Annotated[str, typer.Argument(help="The name that its predictions are watched under.")]
Files = Annotated[list[str], typer.Argument(help="Files as of `tidegauge load`, or - for Arrow on stdin.")]
Name = Annotated[str, typer.Option(help="Of the set; default: the first file's name and a digest of all contents.")]
CHUNK = 2**20


@app.command()
def load(
    model: Model,
    files: Files,
    name: Name = "",
    version: Text = "",
    features: Features = "",
    exclude: Exclude = "",
    prediction: Column = "",
    score: Column = "",
    identifier: Id = "",
    timestamp: Column = "",
    at: At = None,
    timezone: Zone = "",
    time_unit: Unit = None,
    slices: Slices = "",
    label: Label = "",
    endpoint: Endpoint = "",
    api_key_file: KeyFile = None,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Bring in a training set; from the next round on a watch with reference.kind training compares with it.

    What was brought in before stays: `reference.name` in a watch goes back to it. Give the rows the times at which they
    happened, or --at; labels in the files are compared, too.
    """
    if "-" in files and not name:
        raise ConfigError("tidegauge reference load", ["--name: give the set one, as stdin has none"])
    named = name or named_after([Path(each) for each in files])
    load_files(
        files,
        model,
        version=version,
        role="training",
        features=features,
        exclude=exclude,
        prediction=prediction,
        score=score,
        identifier=identifier,
        timestamp=timestamp,
        at=at,
        timezone=timezone,
        time_unit=time_unit,
        slices=slices,
        label=label,
        versions=[f"reference={named}"],
        endpoint=endpoint,
        api_key_file=api_key_file,
        config=config,
        json_output=json_output,
    )
    if not json_output:
        typer.echo(f"training set {named!r} of {model}")


@app.command("list")
def list_sets(config: ConfigFile = None, json_output: AsJson = False) -> None:
    """List the training sets of every model; the first of each is the one that is compared with by default."""
    found = _listed(config)
    if json_output:
        typer.echo(json.dumps(found))
        return
    for each in found:
        name, features = each["name"] or "(no name)", f"{each['numbers']} numbers, {each['texts']} texts"
        stretch = " to ".join(datetime.fromisoformat(each[end]).strftime("%Y-%m-%d %H:%M") for end in ("first", "last"))
        mark = "  newest" if each["newest"] else ""
        typer.echo(f"{each['model']}  {name}  {each['rows']:,} rows  {stretch}  {features}{mark}")
    if not found:
        typer.echo("no training set was loaded or logged")


def named_after(files: list[Path]) -> str:
    """The name of the first file, and what tells one content from another. Raises ConfigError where one is no file."""
    digest = hashlib.sha256()
    for each in files:
        try:
            with each.open("rb") as file:
                while part := file.read(CHUNK):
                    digest.update(part)
        except OSError as error:
            raise ConfigError("tidegauge reference load", [f"{each}: {error.strerror}"]) from error
    return f"{files[0].stem}-{digest.hexdigest()[:8]}"


def _listed(config: Path | None) -> list[dict[str, Any]]:
    from tidegauge.running import Page, reach
    from tidegauge.training_sets import listed

    where = reach(load_settings(config))
    found: list[dict[str, Any]] = where.get("/api/references").json() if isinstance(where, Page) else listed(where)
    return found

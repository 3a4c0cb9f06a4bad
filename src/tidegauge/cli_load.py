"""``tidegauge load``: its options, and what it prints."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import load as load_settings
from tidegauge.errors import ConfigError

if TYPE_CHECKING:
    from tidegauge.collectors.load import Loaded
    from tidegauge.collectors.sdk.settings import Settings as Sending

SAY_EVERY_ROWS = 200_000

Files = Annotated[list[str], typer.Argument(help="Files, patterns such as 'day-*.parquet', or - for Arrow on stdin.")]
Column = Annotated[str, typer.Option(metavar="COLUMN", help="default: the column of this name, where there is one")]
Text = Annotated[str, typer.Option(metavar="TEXT")]
Model = Annotated[str, typer.Option(metavar="TEXT", help="The name that the predictions are watched under.")]
Role = Annotated[str, typer.Option(help="production, shadow ...; `training` makes the rows a reference.")]
Features = Annotated[str, typer.Option(metavar="A,B,...", help="default: every column without a role")]
Exclude = Annotated[str, typer.Option(metavar="A,B,...", help="Columns that are no features.")]
Id = Annotated[str, typer.Option("--id", metavar="COLUMN", help="default: prediction_id, else ids are made up")]
At = Annotated[datetime | None, typer.Option(help="One time for all rows, in UTC, where no column has it.")]
Zone = Annotated[str, typer.Option(metavar="NAME", help="Of times that do not say theirs, such as UTC.")]
Unit = Annotated[Literal["s", "ms", "us", "ns"] | None, typer.Option(help="Of times that are numbers since 1970.")]
Slices = Annotated[str, typer.Option("--slice", metavar="A,B,...", help="Columns to look at apart.")]
Label = Annotated[str, typer.Option(metavar="COLUMN", help="The truth, where it is known. default: label")]
LabelsOnly = Annotated[bool, typer.Option("--labels-only", help="The rows are labels of predictions sent before.")]
Tuple = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A part of the version tuple.")]
Endpoint = Annotated[str, typer.Option(help="Address of the receiver's HTTP port. default: as configured")]
Key = Annotated[str, typer.Option(help="Seen by others on this machine; rather TIDEGAUGE_API_KEY or --api-key-file.")]
KeyFile = Annotated[Path | None, typer.Option(help="A file with the API key.")]
Certificate = Annotated[Path | None, typer.Option(help="PEM file of a private authority.")]
JournalFile = Annotated[Path | None, typer.Option(help="What was loaded. default: ~/.local/state/tidegauge/loaded")]
Again = Annotated[bool, typer.Option("--again", help="Send what the journal says was loaded, too.")]
GiveUp = Annotated[float, typer.Option(min=0, help="Seconds to wait for a receiver that is away.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what each column is understood as, and send nothing.")]


def load(
    files: Files,
    model: Model,
    version: Text = "",
    role: Role = "",
    service: Text = "tidegauge-load",
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
    labels_only: LabelsOnly = False,
    versions: Tuple = None,
    endpoint: Endpoint = "",
    api_key: Key = "",
    api_key_file: KeyFile = None,
    certificate: Certificate = None,
    journal: JournalFile = None,
    again: Again = False,
    give_up_after: GiveUp = 600,
    dry_run: DryRun = False,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Load predictions or labels from .parquet, .csv, .ndjson, .jsonl, .arrow or .feather files, each row once.

    Stopped or failed, the same command goes on where it was. docs/columnar.md says what holds and for how long.
    """
    from tidegauge.collectors.frames import Roles
    from tidegauge.collectors.load import Journal, Loader, Meaning, default_path, sources, understood
    from tidegauge.collectors.sdk.fallback import FramesOrLogs
    from tidegauge.collectors.sdk.post import post

    roles = Roles(
        features=_names(features) or None,
        prediction=prediction,
        score=score,
        id=identifier,
        timestamp=timestamp,
        label=label,
        slices=_names(slices),
    )
    shared = _shared(service, version, role, versions or [])
    moment = at.replace(tzinfo=UTC) if at else None
    meaning = Meaning(model, roles, shared, _names(exclude), labels_only, moment, _zone(timezone), time_unit)
    found = sources(files)
    if dry_run:
        _show_columns([understood(each, meaning) for each in found], json_output)
        return
    sending = _sending(endpoint, api_key, api_key_file, certificate, config)
    notes = Journal(journal or default_path())
    loader = Loader(
        lambda: FramesOrLogs(post(sending)),
        sending.endpoint,
        notes,
        give_up_after_s=give_up_after,
        again=again,
        progress=_Progress(),
    )
    try:
        _show_counts([loader.load(each, meaning) for each in found], json_output)
    finally:
        loader.close()
        notes.close()


class _Progress:
    """A line on stderr for every so many rows."""

    def __init__(self) -> None:
        self._next = SAY_EVERY_ROWS

    def __call__(self, loaded: Loaded) -> None:
        rows = loaded.predictions + loaded.labels + loaded.skipped
        if rows < SAY_EVERY_ROWS:
            self._next = SAY_EVERY_ROWS
        if rows >= self._next:
            self._next = (rows // SAY_EVERY_ROWS + 1) * SAY_EVERY_ROWS
            typer.echo(f"{loaded.file}: {rows:,} rows are stored", err=True)


def _names(listed: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in listed.split(",") if each.strip())


def _shared(service: str, version: str, role: str, versions: list[str]) -> dict[str, str]:
    if wrong := [each for each in versions if "=" not in each]:
        raise ConfigError("tidegauge load", [f"--set {each}: must be NAME=VALUE" for each in wrong])
    named = {"service.name": service, "tidegauge.model.version": version, "tidegauge.role": role}
    named |= {f"tidegauge.version.{name}": value for name, _, value in (each.partition("=") for each in versions)}
    return {key: value for key, value in named.items() if value}


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key if name else ""
    except (ZoneInfoNotFoundError, ValueError):
        problem = f"--timezone {name}: is no time zone such as UTC or Europe/Berlin"
        raise ConfigError("tidegauge load", [problem]) from None


def _sending(endpoint: str, key: str, file: Path | None, certificate: Path | None, config: Path | None) -> Sending:
    """Where to send: as asked, else as the environment says, else to the receiver of the configuration."""
    from tidegauge.collectors.sdk.settings import Given, resolve

    try:
        secret = file.read_text().strip() if file else key
    except OSError as error:
        raise ConfigError("tidegauge load", [f"--api-key-file {file}: {error.strerror}"]) from error
    return resolve(Given("", endpoint or _configured(config), "http/protobuf", None, secret or None, None, certificate))


def _configured(config: Path | None) -> str | None:
    if config is None and os.environ.get("TIDEGAUGE_ENDPOINT"):
        return None
    receiver = load_settings(config).receiver
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(receiver.host, receiver.host)  # noqa: S104 - where others listen
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if receiver.tls_cert_file else 'http'}://{shown}:{receiver.http_port}"


def _show_columns(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
        return
    for each in found:
        typer.echo(f"{each['file']}: {' and '.join(each['makes']) or 'nothing'}")
        for role, columns in each["columns"].items():
            typer.echo(f"  {role:<12} {', '.join(columns) if isinstance(columns, list | tuple) else columns}")
        for name, kind in each["features"].items():
            typer.echo(f"  {'feature':<12} {name}  ({kind})")


def _show_counts(done: list[Loaded], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in done]))
        return
    for each in done:
        known = f", {each.skipped:,} rows were loaded before (--again sends them)" if each.skipped else ""
        typer.echo(f"{each.file}: {each.predictions:,} predictions, {each.labels:,} labels{known}")

"""``tidegauge compare``: two files against each other, without a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegauge.cli_options import AsJson
from tidegauge.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_ROWS = 100_000

Reference = Annotated[str, typer.Argument(help="What is well: .parquet, .csv, .ndjson, .arrow or .feather.")]
Current = Annotated[str, typer.Argument(help="What is held against it; - for an Arrow stream on stdin.")]
Columns = Annotated[str, typer.Option(metavar="A,B,...", help="default: every column of either side")]
Exclude = Annotated[str, typer.Option(metavar="A,B,...", help="Columns that are no features, such as ids.")]
Categorical = Annotated[str, typer.Option(metavar="A,B,...", help="Columns of numbers that are names.")]
Slices = Annotated[str, typer.Option("--slice", metavar="A,B,...", help="Columns by whose values to look apart.")]
Methods = Annotated[str, typer.Option(metavar="A,B,...", help="Such as psi,ks. default: all")]
Rate = Annotated[float, typer.Option(min=0, max=1, help="Of the findings of drift this share is false, on average.")]
FailOnDrift = Annotated[bool, typer.Option("--fail-on-drift", help="Exit with 1 where a column drifts.")]


def compare(
    reference: Reference,
    current: Current,
    columns: Columns = "",
    exclude: Exclude = "",
    categorical: Categorical = "",
    slices: Slices = "",
    methods: Methods = "",
    false_discovery_rate: Rate = 0.05,
    fail_on_drift: FailOnDrift = False,
    json_output: AsJson = False,
) -> None:
    """Compare every column of two files, with the statistics and verdicts of the drift loop; needs no service.

    A Parquet file is read one column at a time. docs/compare.md says what the numbers mean.
    """
    from tidegauge.detectors.compare import compare as compared

    found = compared(
        _frame(reference),
        _frame(current),
        columns=_names(columns) or None,
        exclude=_names(exclude),
        categorical=_names(categorical),
        slices=_names(slices),
        methods=_names(methods) or None,
        false_discovery_rate=false_discovery_rate,
    )
    typer.echo(json.dumps(found.as_json()) if json_output else str(found))
    raise typer.Exit(bool(fail_on_drift and found.drifted))


def _names(listed: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in listed.split(",") if each.strip())


def _frame(name: str) -> Path | pa.Table:
    """A Parquet file by its path, which is then read by the column; any other as a table."""
    import pyarrow as pa

    from tidegauge.collectors.load.sources import Hints, sources

    try:
        found = sources([name])
    except ConfigError as error:
        raise ConfigError("tidegauge compare", error.problems) from None
    if len(found) == 1 and found[0].name.lower().endswith(".parquet"):
        return Path(found[0].name)
    pieces = [piece for each in found for piece in each.pieces(PIECE_ROWS, Hints())]
    try:
        return pa.concat_tables(pieces, promote_options="permissive")
    except pa.ArrowException as error:
        raise ConfigError("tidegauge compare", [f"{name}: its files do not fit together: {error}"]) from error

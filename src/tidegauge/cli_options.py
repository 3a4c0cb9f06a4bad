"""Options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file [default: tidegauge.yaml, where there is one]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

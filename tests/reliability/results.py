"""What each fault left behind, one line of JSON a row, for the table in docs/reliability.md."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from oracle import Verdict

FULL = os.environ.get("TIDEGAUGE_RELIABILITY") == "full"
FILE = os.environ.get("TIDEGAUGE_RELIABILITY_RESULTS", "")


@dataclass(frozen=True)
class Result:
    """One line of the table; a count that a fault has no use for is None."""

    row: str
    fault: str
    sent: int | None = None
    acked: int | None = None
    stored: int | None = None
    duplicates: int | None = None
    dead_lettered: int | None = None
    rejected: int | None = None
    lost: int | None = None
    recovered_s: float | None = None
    note: str = ""


def publish(
    row: str,
    fault: str,
    verdict: Verdict | None = None,
    *,
    dead_lettered: int | None = None,
    rejected: int | None = None,
    recovered_s: float | None = None,
    note: str = "",
) -> None:
    """Keep one line, where somebody collects them."""
    found = (verdict.sent, verdict.acked, verdict.stored, verdict.duplicates, verdict.lost) if verdict else (None,) * 5
    counts = dict(zip(("sent", "acked", "stored", "duplicates", "lost"), found, strict=True))
    others = {"dead_lettered": dead_lettered, "rejected": rejected}
    result = Result(row, fault, **counts, **others, recovered_s=recovered_s, note=note)
    if FILE:
        with Path(FILE).open("a") as lines:
            lines.write(json.dumps(asdict(result)) + "\n")

"""Every fault in full, and the table of docs/reliability.md from what they left behind: ``make reliability``.

    python tests/reliability/run.py [pytest arguments]

The table is rewritten whatever the outcome, so that what failed stands there as failed; the exit status is pytest's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: made by `make reliability`, do not edit -->", "<!-- end of table -->"
COLUMNS = ("sent", "acked", "stored", "duplicates", "dead_lettered", "rejected", "lost", "recovered_s")
HEAD = ("row", "fault", "sent", "acked", "stored", "duplicates", "dead letters", "rejected", "lost", "recovered, s", "")


def main(arguments: list[str]) -> int:
    """Run the faults, write the table."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        results, began = Path(folder) / "results.jsonl", time.monotonic()
        results.touch()
        environ = os.environ | {"TIDEGAUGE_RELIABILITY": "full", "TIDEGAUGE_RELIABILITY_RESULTS": str(results)}
        command = [sys.executable, "-m", "pytest", str(HERE), "-q", *arguments]
        status = subprocess.run(command, env=environ, check=False).returncode
        rows = [json.loads(line) for line in results.read_text().splitlines()]
    minutes = (time.monotonic() - began) / 60
    outcome = "every test passed" if status == 0 else "**some tests failed**"
    write_table(rows, f"{len(rows)} rows, {minutes:.0f} minutes, {outcome}.")
    return status


def write_table(rows: Iterable[dict[str, Any]], outcome: str) -> None:
    """Replace what stands between the two marks of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n\n{outcome}\n{END}{after}")


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The results as Markdown, in the order of their row numbers."""
    lines = [HEAD, tuple("-" if not name or name in ("fault",) else "-:" for name in HEAD)]
    for each in sorted(rows, key=lambda row: int(row["row"])):
        counts = tuple(shown(each[name]) for name in COLUMNS)
        lines.append((each["row"], each["fault"], *counts, each["note"].replace("|", "\\|").replace("\n", " ")))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: float | None) -> str:
    """A count, seconds with one digit, or nothing."""
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

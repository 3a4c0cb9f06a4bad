"""The golden set as a file, for people's tools: every column, or the items that evaluation tools read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tidegauge.errors import InvalidRecord
from tidegauge.golden import Candidate

FORMATS = (".jsonl", ".parquet", ".json")
_TEXT = ("input", "output", "expected")
_PLAIN = ("proposed_at", "timestamp", "window_start", "window_end", "written_at", "decided_at")
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("candidate_id", "state", "subject", "kind", "record_id", "trace_id", "tenant"), pl.String),
    **dict.fromkeys((*_TEXT, "digest", "author", "note", "reasons", "slices", "versions"), pl.String),
    **{name: pl.Datetime("us", "UTC") for name in _PLAIN},
    "strength": pl.Float64,
    "alike": pl.UInt32,
    "context": pl.List(pl.String),
}
"""Of the Parquet file; the three maps are JSON text, because Parquet's readers disagree about maps."""


def export(candidates: Sequence[Candidate], out: Path, page_url: str = "") -> int:
    """Write ``candidates`` to ``out``; returns how many.

    ``.jsonl`` and ``.parquet`` have every column, ``.json`` a list of :func:`item`.

    Raises:
        InvalidRecord: the name of ``out`` ends in none of these, or the file cannot be written.
    """
    check_format(out)
    try:
        if out.suffix == ".parquet":
            _frame(candidates).write_parquet(out)
        elif out.suffix == ".jsonl":
            out.write_bytes(b"".join(_line(each.as_json()) for each in candidates))
        else:
            out.write_bytes(_line([item(each, page_url) for each in candidates], 2))
    except OSError as error:
        raise InvalidRecord(f"{out} cannot be written: {error.strerror or error}") from error
    return len(candidates)


def check_format(out: Path) -> None:
    """Raises InvalidRecord when ``out`` is no file that :func:`export` can write."""
    if out.suffix not in FORMATS:
        raise InvalidRecord(f"{out}: the name must end in one of {', '.join(FORMATS)}")


def item(candidate: Candidate, page_url: str = "") -> dict[str, Any]:
    """``candidate`` under the names that DeepEval's goldens and Langfuse's dataset items share.

    ``expected_output`` is None where nobody has said what it should have been; ``context`` is a list of texts.
    """
    trace = candidate.trace_id
    return {
        "id": candidate.candidate_id,
        "input": candidate.input,
        "actual_output": candidate.output or None,
        "expected_output": candidate.expected or None,
        "context": list(candidate.context) or None,
        "source_trace_id": trace or None,
        "metadata": {
            "reasons": dict(candidate.reasons),
            "subject": candidate.subject,
            "kind": candidate.kind,
            "record_id": candidate.record_id,
            "timestamp": candidate.timestamp.isoformat(),
            "tenant": candidate.tenant,
            "slices": dict(candidate.slices),
            "versions": dict(candidate.versions),
            "alike": candidate.alike,
            "state": candidate.state.value,
            "note": candidate.note,
            **({"trace_url": f"{page_url.rstrip('/')}/traces/{trace}"} if page_url and trace else {}),
        },
    }


def _frame(candidates: Sequence[Candidate]) -> pl.DataFrame:
    rows = [each.row() for each in candidates]
    maps = ("reasons", "slices", "versions")
    return pl.DataFrame([row | {name: _json(row[name]) for name in maps} for row in rows], schema=SCHEMA)


def _line(data: Any, indent: int | None = None) -> bytes:
    return f"{_json(data, indent)}\n".encode(errors="replace")


def _json(data: Any, indent: int | None = None) -> str:
    return json.dumps(data, ensure_ascii=False, indent=indent)

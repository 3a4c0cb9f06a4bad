"""Lineage for a terminal: one fact per line, nothing of the data interpreted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegauge.dashboards.lineage.affected import Affected
from tidegauge.model import Slice

SHORT = 100


def clean(value: Any, length: int = SHORT) -> str:
    """``value`` on one line, without control characters, so that text of a model cannot draw on the terminal.

    >>> clean("a\\x1b[31m\\nb")
    'a [31m b'
    """
    text = "".join(each if each.isprintable() else " " for each in str(value))
    return text if len(text) <= length else text[: length - 1] + "…"


def lineage_text(found: Mapping[str, Any]) -> str:
    """``lineage()`` as text."""
    return "\n".join(_lineage_lines(found))


def affected_text(found: Affected, groups: int = 10) -> str:
    """``affected()`` as text, the ``groups`` largest of each kind."""
    return "\n".join(_affected_lines(found, groups))


def _lineage_lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{clean(found['id'])}" + (
        f"   trace {found['trace_id']}" if found["trace_id"] not in ("", found["id"]) else ""
    )
    for each in found["versions"]:
        yield f"\nversions of {clean(', '.join(each['of']))}"
        yield from _table([(name, value) for name, value in each["versions"].items()])
    for row in found["predictions"]:
        yield from _prediction(row)
    if found["spans"]:
        yield "\nspans"
        yield from _table([_span(span) for span in found["spans"]])
    yield from _labels(found["labels"])
    yield from _section("feedback", found["feedback"], ("kind", "score", "comment"))
    yield from _section("outcomes", found["outcomes"], ("name", "value"))
    yield from _section("scores", found["scores"], ("name", "score", "label", "judge", "error_type", "explanation"))
    yield "\ndrift in windows and slices that it belongs to"
    yield from _table([_finding(row) for row in found["findings"]]) if found["findings"] else ["  none found"]


def _prediction(row: Mapping[str, Any]) -> Iterator[str]:
    yield f"\nprediction {clean(row['prediction_id'])}"
    slices = ", ".join(f"{name}={value}" for name, value in row["slices"].items())
    inputs = {**row["features"], **row["categories"]}
    facts = [
        ("at", _when(row["timestamp"])),
        ("service", row["service"]),
        ("role", row["role"]),
        ("value", row["value"]),
    ]
    facts += [("score", row["score"]), ("slices", slices), ("session", row["session"])]
    yield from _table([fact for fact in facts if fact[1] not in ("", None)])
    yield from _table([("input", name, "missing" if _is_missing(value) else value) for name, value in inputs.items()])


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value


def _span(span: Mapping[str, Any]) -> tuple[Any, ...]:
    call = span["call"] or {}
    notes = [name for name in ("refused", "blocked") if call.get(name)] + [call.get("error_type", "")]
    tokens = f"{call['input_tokens']}+{call['output_tokens']} tokens" if call.get("input_tokens") else ""
    name = "  " * span["depth"] + span["name"]
    return (
        name,
        call.get("kind", ""),
        call.get("model", ""),
        f"{span['duration_s']:.3f} s",
        tokens,
        " ".join(filter(None, notes)),
    )


def _labels(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "\nlabels"
    seen: set[str] = set()
    lines = []
    for row in rows:  # the newest first: that one is in force
        force = "in force" if row["prediction_id"] not in seen else "earlier"
        seen.add(row["prediction_id"])
        lines.append((_when(row["timestamp"]), row["value"], force))
    yield from _table(lines) if lines else ["  none yet"]


def _finding(row: Mapping[str, Any]) -> tuple[Any, ...]:
    slice_ = str(Slice(row["dimension"], row["slice"]))
    since = f"since {_when(row['since'])}" if row["since"] else ""
    effect = "" if row["effect"] is None else f"effect {row['effect']:.3g}"
    return (row["subject"], row["feature"], row["detector"], slice_, effect, since, row["finding_id"])


def _section(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    if rows:
        yield f"\n{title}"
        yield from _table(
            [(_when(row["timestamp"]), *("" if row[each] is None else row[each] for each in columns)) for row in rows]
        )


def _affected_lines(found: Affected, groups: int) -> Iterator[str]:
    selected = ", ".join(f"{name}={value}" for name, value in found.selection.items())
    yield f"{clean(selected)}, {_when(found.start)} to {_when(found.end)} UTC"
    if not found.predictions and not found.calls:
        yield "nothing: no prediction and no LLM call carries it in this time"
        return
    yield (
        f"{found.predictions:,} predictions ({found.labelled:,} with a label), {found.calls:,} GenAI spans in "
        f"{found.traces:,} traces, from {_when(found.first)} to {_when(found.last)}"
    )
    for name in ("tenant", "service", "hour"):
        yield f"\nby {name}"
        counts = found.by(name)
        rows = list(counts.items())[:groups] if name != "hour" else list(counts.items())[-groups:]
        cells = [
            (_when(key[0]) if name == "hour" else key[0] or "(none)", f"{value[0]:,}", f"{value[1]:,}")
            for key, value in rows
        ]
        yield from _table([(name, "predictions", "GenAI spans"), *cells])
        if len(counts) > groups:
            yield f"  and {len(counts) - groups:,} more" + (" before" if name == "hour" else "")


def _when(moment: Any) -> str:
    """A datetime in seconds; text (from JSON) as it is."""
    return moment.strftime("%Y-%m-%d %H:%M:%S") if hasattr(moment, "strftime") else str(moment or "")


def _table(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Columns as wide as their cells."""
    cells = [[clean(each) for each in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield ("  " + "  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True))).rstrip()

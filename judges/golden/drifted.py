"""Failures in a slice that drifted say so; and the texts that drift was shown by are candidates themselves."""

# ruff: noqa: S608 - the pieces are constants of this file; every value is a bound parameter

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, starmap
from typing import Any, TypeAlias

from tidegauge.judges.golden.failure import Case, Sign
from tidegauge.judges.golden.signs import TAKEN
from tidegauge.model import Slice, Window
from tidegauge.store import Store

Drifts: TypeAlias = Mapping[tuple[str, str, str], str]
DRIFTED = (
    """verdict = 'drift' AND window_end > {start:DateTime64(6, 'UTC')} AND window_end <= {end:DateTime64(6, 'UTC')}"""
)
SLICES = f"""SELECT subject, dimension, slice,
  argMax((toString(feature), toString(detector), window_end), effect / effect_floor) AS worst
FROM findings WHERE {DRIFTED} AND dimension != '' AND effect > 0 AND effect_floor > 0
GROUP BY subject, dimension, slice LIMIT 10000"""
EVIDENCE = f"""SELECT subject, window_start, window_end, feature, evidence FROM findings
WHERE {DRIFTED} AND evidence LIKE '%"examples"%' ORDER BY window_end DESC, effect DESC LIMIT 200"""
SHOWN = 300  # characters that an example is cut to
MOST_EXAMPLES = 1_000
TEXTS = f"""SELECT service AS subject, trace_id AS record_id, timestamp AS at, slices['tenant'] AS tenant,
  'drifted' AS reason, substringUTF8(text, 1, {SHOWN}) AS shown
FROM embeddings WHERE service IN {{subjects:Array(String)}} AND shown IN {{texts:Array(String)}} AND trace_id != ''
  AND timestamp >= {{start:DateTime64(6, 'UTC')}} AND timestamp < {{end:DateTime64(6, 'UTC')}} {TAKEN}"""


def drifts(store: Store, window: Window) -> Drifts:
    """Subject, dimension and value of each slice that drifted in ``window``, and what of it did by the most."""
    rows = store.rows(SLICES, {"start": window.start, "end": window.end})
    return {(row["subject"], row["dimension"], row["slice"]): _told(row) for row in rows}


def with_drift(found: Sequence[Case], known: Drifts) -> list[Case]:
    """The cases; those in a slice that drifted have one reason more."""
    return [_also(case, known) for case in found]


def examples(store: Store, window: Window) -> Iterator[Sign]:
    """Calls whose texts stand in the evidence of drift as what is new."""
    times = {"start": window.start, "end": window.end}
    shown: dict[tuple[str, str], str] = {}
    for row in store.rows(EVIDENCE, times):
        what = f"new in {row['feature']} by {row['window_end']:%Y-%m-%d %H:%M}"
        for text in _texts(row["evidence"]):
            shown.setdefault((row["subject"], text), what)
    taken = dict(list(shown.items())[:MOST_EXAMPLES])
    if taken:
        asked = {"subjects": sorted({subject for subject, _ in taken}), "texts": [text for _, text in taken]}
        for row in store.rows(TEXTS, times | asked):
            if detail := taken.get((row["subject"], row["shown"])):
                yield Sign("trace", row["record_id"], "drifted", detail, row["at"], row["subject"], row["tenant"])


def _texts(evidence: str) -> Iterator[str]:
    """Every text under ``examples``, wherever it stands; evidence that is no JSON has none."""
    try:
        found = json.loads(evidence)
    except ValueError:
        return
    yield from _under_examples(found)


def _under_examples(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            if name == "examples" and isinstance(value, list):
                yield from (each[:SHOWN] for each in value if isinstance(each, str))
            yield from _under_examples(value)
    elif isinstance(found, list):
        for value in found:
            yield from _under_examples(value)


def _also(case: Case, known: Drifts) -> Case:
    if "drifted" in case.reasons:
        return case
    slices = [Slice(name, value) for name, value in case.slices.items()]
    for part in (*starmap(Slice.pair, permutations(slices, 2)), *slices):
        if told := known.get((case.subject, part.dimension, part.value)):
            return case.also("drifted", f"{part} drifted in {told}")
    return case


def _told(row: Mapping[str, Any]) -> str:
    feature, detector, end = row["worst"]
    return f"{feature} ({detector}), window to {end:%Y-%m-%d}"

"""The faults that are replayed, and the rules of which one should tell: named before the replay was run.

Those on *Cause found* came with the daily diagnosis, for the five that nothing told, one that a gap told by luck, and
the threshold, which no window told on 2013-10-10.
"""

from __future__ import annotations

from collections.abc import Mapping

_WORSE = (
    "Drift found: error",
    "Drift found: performance",
    "Far more wrong predictions than last week",
    "More wrong predictions than two weeks before",
)
FLIGHTS: Mapping[str, tuple[str, ...]] = {
    "drop:1": ("No predictions",),
    "drop:0.5": ("Far fewer predictions than usual",),
    "volume:LGA": ("Drift found: volume", "Drift found: origin"),
    "duplicates:0.5": ("Drift found: volume",),
    "missing:pressure": ("Drift found: pressure",),
    "units:temp": ("Drift found: temp",),
    "constant:minute_of_day": ("Drift found: minute_of_day",),
    "type:temp": ("Features changed",),
    "new_category:UA": ("Drift found: carrier",),
    "delay:3": ("Labels are missing",),
    "keys": ("Labels are missing",),
    "definition": _WORSE,
    "version": ("Drift found: score",),
    "threshold": ("Drift found: prediction", "Cause found: prediction"),
    "default:temp": ("Drift found: temp",),
    "outliers:distance": ("Drift found: distance",),
    "precision:pressure": ("Drift found: pressure", "Cause found: pressure"),
    "skew:plane_age": ("Drift found: plane_age",),
    "swap:temp:humid": ("Drift found: temp", "Drift found: humid", "Cause found: temp", "Cause found: humid, temp"),
    "stale:temp": ("Drift found: temp", *_WORSE, "Cause found: temp"),
    "timezone": ("Drift found: hour", "Drift found: minute_of_day"),
    "join": ("Drift found: plane_age", "Drift found: seats", "Cause found: plane_age, seats"),
    "labels:UA": (*_WORSE, "Cause found: label"),
    "lost:late": ("Drift found: label", "Labels are missing"),
    "mix:UA": ("Drift found: carrier", "Drift found: volume"),
    "concept:DL": ("Drift found: label", *_WORSE, "Cause found: error"),
    "calibration": ("Drift found: score",),
}
"""After a colon the feature or slice that the rule should name."""
ASSISTANT: Mapping[str, tuple[str, ...]] = {
    "prompt": ("High refusal rate: v2",),
    "empty": ("High refusal rate",),
    "empty:globex": ("High refusal rate",),
    "index": ("High refusal rate",),
    "slow": ("LLM calls slower than the day before",),
    "slow:acme": ("LLM calls slower than the day before",),
    "errors": ("LLM calls fail",),
    "tool": ("Tool calls fail: signature",),
    "blocks": ("Guardrail blocks often: input_policy",),
    "model": ("LLM calls dearer than the day before",),
    "topics": ("Drift found: input",),
    "errors:globex": ("LLM calls fail", "LLM error budget burns"),
    "stop": ("No LLM calls",),
    "mix": ("Cost up on last week",),
}
OVER_WEEKS = ("stop", "mix")
"""Those of the assistant that only rules tell which look back a week."""

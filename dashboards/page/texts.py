"""What a finding about texts shows: topics that grew and shrank, new texts, and words that became more frequent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

CHANGES = ("grew", "shrank")
SHARES = ("reference", "current")
NUMBERS = (*SHARES, "low", "high", "p_adjusted")
MOST = 20


def texts(evidence: str) -> dict[str, list[dict[str, Any]] | list[str]] | None:
    """``topics``, ``examples`` and ``terms`` of a finding's evidence, or None where it is about no texts.

    What is malformed is left out: evidence is a column that anybody may have written.

    >>> texts('{"examples": ["my refund"], "terms": [{"term": "refund", "reference": 0, "current": 0.4}]}')["examples"]
    ['my refund']
    >>> texts('{"labels": ["a"], "reference": [1.0], "current": [0.5]}')
    """
    try:
        data = json.loads(evidence or "{}")
    except ValueError:
        return None
    if not isinstance(data, dict) or not {"topics", "examples", "terms"} & set(data):
        return None
    topics = [each for each in _listed(data, "topics") if _numbers(each, *NUMBERS) and each.get("change") in CHANGES]
    return {
        "topics": [
            each | {"name": str(each.get("name")), "examples": _texts(each, "examples"), "terms": _texts(each, "terms")}
            for each in topics
        ],
        "examples": _texts(data, "examples"),
        "terms": [
            each for each in _listed(data, "terms") if _numbers(each, *SHARES) and isinstance(each.get("term"), str)
        ],
    }


def _listed(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = data.get(name)
    return [each for each in found[:MOST] if isinstance(each, dict)] if isinstance(found, list) else []


def _texts(data: Mapping[str, Any], name: str) -> list[str]:
    found = data.get(name)
    return [each for each in found[:MOST] if isinstance(each, str)] if isinstance(found, list) else []


def _numbers(data: Mapping[str, Any], *names: str) -> bool:
    found = [data.get(name) for name in names]
    return all(isinstance(each, int | float) and math.isfinite(each) for each in found)

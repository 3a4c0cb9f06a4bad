"""What is committed with an offset: the plan of the insert that comes next, so that a successor does exactly that."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

MAX_METADATA_BYTES = 4000  # the broker's default limit is 4096
Stretch = tuple[int, int]  # first and last offset


@dataclass(frozen=True, slots=True)
class Plan:
    """To insert exactly the messages before offset ``end``.

    ``refused`` are the stretches that ClickHouse has refused for good: whoever goes on takes their halves at once, and
    so decides the same even where the cause was mended in between.
    """

    end: int
    refused: frozenset[Stretch] = frozenset()

    def without(self, stretch: Stretch) -> Plan:
        """The plan once ``stretch`` was refused."""
        return replace(self, refused=self.refused | {stretch})


def metadata(log: str, plan: Plan | None = None) -> str:
    """Commit metadata: which log the offset belongs to, and the plan, if there is one.

    Refused stretches beyond what the broker takes are left out, the smallest first: their halves then depend on the
    cause still being there.
    """
    found: dict[str, Any] = {"tidegauge_log": log}
    if plan:
        widest = sorted(plan.refused, key=lambda each: each[0] - each[1])
        found |= {"tidegauge_end": plan.end, "refused": widest}
        while len(json.dumps(found)) > MAX_METADATA_BYTES:
            found["refused"] = widest = widest[:-1]
    return json.dumps(found, separators=(",", ":"))


def read(text: str | None) -> tuple[str, Plan | None]:
    """Log and plan from commit metadata; an empty log and no plan where it is not ours."""
    try:
        found = json.loads(text or "{}")
        end = found.get("tidegauge_end")
        refused = frozenset((int(first), int(last)) for first, last in found.get("refused", ()))
        return str(found.get("tidegauge_log", "")), None if end is None else Plan(int(end), refused)
    except (ValueError, TypeError, AttributeError):
        return "", None

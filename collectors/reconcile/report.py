"""What a round of the reconciliation found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tidegauge.model import Signal


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that nobody can account for.

    Attributes:
        signal: Whose.
        records: How many; of offsets whose records nobody has counted, each is one.
        where: Topic, partition and offsets, or table and day.
        what: What is wrong, and what may have caused it.
        topic: Empty for what is not known by offsets.
        partition: Of the topic.
        first: First offset.
        last: Last offset, inclusive.
    """

    signal: Signal
    records: int
    where: str
    what: str
    topic: str = ""
    partition: int = 0
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Account:
    """The books of one partition, over the time looked back on.

    ``accepted = stored + duplicates + dead_letters + lost + in_flight + unknown`` in messages; ``holes`` are offsets
    that Kafka itself uses up: transaction markers, and what compaction removed.
    """

    signal: Signal
    topic: str
    partition: int
    stored: int
    duplicates: int
    dead_letters: int
    lost: int
    holes: int
    in_flight: int
    unknown: int
    records: int
    lag_s: float

    @property
    def accepted(self) -> int:
        """Messages that Kafka has acknowledged."""
        return self.stored + self.duplicates + self.dead_letters + self.lost + self.in_flight + self.unknown


@dataclass(frozen=True, slots=True)
class Report:
    """One round."""

    accounts: Sequence[Account]
    gaps: Sequence[Gap]

    def gap_records(self) -> Counter[Signal]:
        """Records that nobody can account for, by signal."""
        found: Counter[Signal] = Counter()
        for each in self.gaps:
            found[each.signal] += each.records
        return found

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "ok": not self.gaps,
            "accounts": [asdict(each) | {"accepted": each.accepted} for each in self.accounts],
            "gaps": [asdict(each) for each in self.gaps],
        }

    def as_text(self) -> str:
        """A table for people: the books of each partition, then every gap."""
        columns = ("accepted", "stored", "duplicates", "dead_letters", "lost", "in_flight", "unknown", "records")
        lines = [f"{'topic':<20}{'part':>5}" + "".join(f"{name:>14}" for name in columns)]
        for each in self.accounts:
            numbers = "".join(f"{getattr(each, name):>14}" for name in columns)
            lines.append(f"{each.topic:<20}{each.partition:>5}{numbers}")
        lines += ["", *(f"GAP {each}" for each in self.gaps)] if self.gaps else ["", "everything is accounted for"]
        return "\n".join(lines)

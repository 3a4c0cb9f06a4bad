"""Faults put into the replay on request, each with its truth, so that what Tidegauge finds can be marked.

A fault is written ``kind[:argument]...@day``, such as ``units:temp@2013-07-01``; CHOICES lists them all. It starts with
the first flight of that day in New York and stays until the end of the year.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from tidegauge.demo.flights.data import CATEGORICAL, LAST_TRAINING_DAY, NUMERIC, SLICES, day_end
from tidegauge.errors import ConfigError
from tidegauge.model import ALL, Slice

LAST_DAY = date(2013, 12, 31)
ORIGINS = ("EWR", "JFK", "LGA")

NEW_CODES = {
    "9E": "FLG",
    "AA": "AAL",
    "AS": "ASA",
    "B6": "JBU",
    "DL": "DAL",
    "EV": "ASQ",
    "F9": "FFT",
    "FL": "TRS",
    "HA": "HAL",
    "MQ": "EGF",
    "OO": "SKW",
    "UA": "UAL",
    "US": "AWE",
    "VX": "VRD",
    "WN": "SWA",
    "YV": "ASH",
}
"""Carriers' two-character codes and the three-letter ones that ``new_category`` puts in their place."""

UNITS: Mapping[str, tuple[str, Callable[[pl.Expr], pl.Expr]]] = {
    "temp": ("°F to °C", lambda x: (x - 32) / 1.8),
    "dewp": ("°F to °C", lambda x: (x - 32) / 1.8),
    "distance": ("miles to km", lambda x: x * 1.609344),
    "visib": ("miles to km", lambda x: x * 1.609344),
    "wind_speed": ("mph to m/s", lambda x: x * 0.44704),
    "wind_gust": ("mph to m/s", lambda x: x * 0.44704),
    "precip": ("inches to mm", lambda x: x * 25.4),
    "pressure": ("hPa to inHg", lambda x: x * 0.02953),
    "sched_duration": ("minutes to hours", lambda x: x / 60),
}
"""Features that ``units`` can change, with the change."""

_CORRUPTIBLE = (*NUMERIC, "dest")

CHOICES: Mapping[str, str] = {
    "units": f"units:FEATURE[:ORIGIN] - other units, FEATURE one of {', '.join(UNITS)}",
    "missing": f"missing:FEATURE[:ORIGIN] - no value any more, FEATURE one of {', '.join(_CORRUPTIBLE)}",
    "constant": "constant:FEATURE[:ORIGIN] - stuck at the median of training (dest: its mode), FEATURE as above",
    "labels": f"labels:CARRIER - its labels flipped, CARRIER one of {', '.join(NEW_CODES)}",
    "new_category": "new_category:CARRIER - renamed from two to three letters, such as UA to UAL",
    "volume": f"volume:ORIGIN - its flights no longer come, ORIGIN one of {', '.join(ORIGINS)}",
    "version": "version[:SHARE] - a badly trained release on a share of flights, above 0 to 1 (default 1)",
}
_CHANGES = {"labels": "label", "version": "version", "volume": "volume"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what it is, the feature and the part of the traffic it touches, and its first day in New York."""

    kind: str
    since: date
    feature: str = ""
    part: Slice = ALL
    share: float = 1.0

    @property
    def start(self) -> datetime:
        """The midnight in New York that begins ``since``, in UTC."""
        return day_end(self.since - timedelta(days=1))

    @property
    def release(self) -> str:
        """The version that a ``version`` fault brings."""
        return (self.since - timedelta(days=1)).isoformat()

    @property
    def truth(self) -> dict[str, object]:
        """What a monitor should find.

        Keys: ``kind``; ``changes``: feature, label, version or volume; ``feature``: its name or empty; ``slice``:
        ``all`` or ``dimension=value``; ``since``: aware datetime; ``share`` of that slice's flights, 0 to 1; ``new``: a
        category or version not seen before, or empty.
        """
        renamed = NEW_CODES[self.part.value] if self.kind == "new_category" else ""
        return {
            "kind": self.kind,
            "changes": _CHANGES.get(self.kind, "feature"),
            "feature": self.feature,
            "slice": str(self.part),
            "since": self.start,
            "share": self.share,
            "new": self.release if self.kind == "version" else renamed,
        }

    def touches(self) -> pl.Expr:
        """True for the rows of ``part`` from ``since`` on."""
        here = pl.col("date") >= self.since
        return here & (pl.col(self.part.dimension) == self.part.value) if self.part.dimension else here

    def apply(self, rows: pl.DataFrame, training: pl.DataFrame) -> pl.DataFrame:
        """``rows`` with the fault in them; ``version`` changes none, because it changes the model."""
        if self.kind == "volume":
            return rows.filter(~self.touches())
        column, becomes = self._change(training)
        return rows.with_columns(pl.when(self.touches()).then(becomes).otherwise(pl.col(column)).alias(column))

    def _change(self, training: pl.DataFrame) -> tuple[str, pl.Expr]:
        """The column that changes, and what it becomes."""
        match self.kind:
            case "units":
                return self.feature, UNITS[self.feature][1](pl.col(self.feature))
            case "missing":
                return self.feature, pl.lit("" if self.feature in CATEGORICAL else float("nan"))
            case "constant":
                return self.feature, pl.lit(_typical(training[self.feature]))
            case "labels":
                return "late", 1 - pl.col("late")
            case "new_category":
                return "carrier", pl.lit(NEW_CODES[self.part.value])
            case _:
                return "date", pl.col("date")


def parse_fault(text: str) -> Fault:
    """Read ``kind[:argument]...@day``.

    Raises:
        ConfigError: it is not one of CHOICES, or its day is not a day from 2013-04-01 to 2013-12-31.
    """
    what, _, when = text.partition("@")
    kind, *arguments = what.split(":")
    if kind not in CHOICES:
        raise ConfigError(f"fault {text!r}", [f"{kind!r} is no kind of fault; write one of", *_choices()])
    try:
        return _fault(kind, arguments, _day(when))
    except ValueError as wrong:
        raise ConfigError(f"fault {text!r}", [str(wrong), f"write {CHOICES[kind]}, then @ and the first day"]) from None


def _choices() -> list[str]:
    return [f"{choice}; then @ and the first day, such as @2013-07-01" for choice in CHOICES.values()]


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if not LAST_TRAINING_DAY < day <= LAST_DAY:
        raise ValueError(f"{text!r} is no day from {LAST_TRAINING_DAY + timedelta(days=1)} to {LAST_DAY}")
    return day


def _fault(kind: str, arguments: list[str], since: date) -> Fault:
    most = 2 if kind in ("units", "missing", "constant") else 1
    if len(arguments) > most or (not arguments and kind != "version"):
        raise ValueError(f"{len(arguments)} argument(s) after {kind!r}")
    match kind:
        case "units" | "missing" | "constant":
            allowed = tuple(UNITS) if kind == "units" else _CORRUPTIBLE
            part = Slice("origin", _among(arguments[1], ORIGINS)) if len(arguments) == 2 else ALL
            return Fault(kind, since, _among(arguments[0], allowed), part)
        case "labels":
            return Fault(kind, since, part=Slice("carrier", _among(arguments[0], NEW_CODES)))
        case "new_category":
            return Fault(kind, since, "carrier", Slice("carrier", _among(arguments[0], NEW_CODES)))
        case "volume":
            return Fault(kind, since, part=Slice("origin", _among(arguments[0], ORIGINS)))
        case _:
            return Fault(kind, since, share=_share(arguments[0]) if arguments else 1.0)


def _among(name: str, allowed: tuple[str, ...] | Mapping[str, str]) -> str:
    if name not in allowed:
        slices = " (it is also a slice: use new_category or volume)" if name in SLICES else ""
        raise ValueError(f"{name!r} is none of {', '.join(allowed)}{slices}")
    return name


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is no share above 0 and up to 1")
    return share


def _typical(values: pl.Series) -> float | str:
    if values.dtype == pl.String:
        return str(values.mode().sort()[0])
    return float(values.drop_nans().median() or 0.0)  # type: ignore[arg-type]

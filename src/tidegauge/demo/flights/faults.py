"""Faults put into the replay on request, each with its truth, so that what Tidegauge finds can be marked.

A fault is written ``kind[:argument]...@day``, such as ``units:temp@2013-07-01``; CHOICES lists them all. It starts with
the first flight of that day in New York and stays until the end of the year.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from tidegauge.demo.flights.data import LAST_TRAINING_DAY, NUMERIC, SLICES, WEATHER, day_end
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

CORRUPTIBLE = (*NUMERIC, "dest")
JOINED = ("plane_age", "seats")
PARTS = (*ORIGINS, *NEW_CODES)
CLASSES: Mapping[str, int] = {"late": 1, "ontime": 0}

_OF = "FEATURE one of"
_PART = "PART an origin or a carrier"
CHOICES: Mapping[str, str] = {
    "units": f"units:FEATURE[:PART] - other units, {_PART}, {_OF} {', '.join(UNITS)}",
    "missing": f"missing:FEATURE[:PART] - no value any more, {_PART}, {_OF} {', '.join(CORRUPTIBLE)}",
    "constant": "constant:FEATURE[:PART] - stuck at the median of training (dest: its mode), FEATURE as for missing",
    "default": "default:FEATURE[:PART] - an upstream default of -1 on three flights in ten, FEATURE a number",
    "outliers": "outliers:FEATURE[:PART] - a thousand times as much on one flight in a hundred, FEATURE a number",
    "precision": "precision:FEATURE[:PART] - rounded to tens, FEATURE a number",
    "skew": "skew:FEATURE[:PART] - served half-way to the median of training, FEATURE a number",
    "swap": "swap:FEATURE:FEATURE - each with the other's values, FEATURE a number",
    "stale": f"stale:FEATURE - yesterday's value of that airport and hour, {_OF} {', '.join(WEATHER)}",
    "type": "type:FEATURE - text with its unit instead of a number, which the model cannot read, FEATURE a number",
    "timezone": "timezone - the hour and minute of departure in UTC instead of New York's time",
    "join": f"join - {' and '.join(JOINED)} of another aircraft",
    "labels": f"labels:CARRIER - its labels flipped, CARRIER one of {', '.join(NEW_CODES)}",
    "definition": "definition - the label is 1 for on time instead of for late",
    "lost": f"lost:CLASS - labels of one class no longer come, CLASS one of {', '.join(CLASSES)}",
    "delay": "delay:DAYS - labels come so many days later, above 0 to 30",
    "keys": "keys - labels name their prediction in another way, so that none is found",
    "duplicates": "duplicates[:SHARE] - a share of predictions is logged twice (default 0.3)",
    "drop": "drop[:SHARE] - a share of flights is not logged, nor are their labels (default 0.5)",
    "mix": "mix:CARRIER - twice as many of its flights, CARRIER as above",
    "concept": "concept:CARRIER - four in ten of its flights that were on time are late, CARRIER as above",
    "new_category": "new_category:CARRIER - renamed from two to three letters, such as UA to UAL",
    "volume": f"volume:ORIGIN - its flights no longer come, ORIGIN one of {', '.join(ORIGINS)}",
    "calibration": "calibration - scores squeezed towards one half, without a new version",
    "threshold": "threshold - late is called from a score of 0.5 on, without a new version",
    "version": "version[:SHARE] - a badly trained release on a share of flights, above 0 to 1 (default 1)",
}
_CHANGES = {
    **dict.fromkeys(("labels", "definition", "lost", "delay", "keys"), "label"),
    **dict.fromkeys(("volume", "drop", "duplicates", "mix"), "volume"),
    "version": "version",
    "concept": "concept",
    "calibration": "score",
    "threshold": "prediction",
}
_SHARES = {"duplicates": 0.3, "drop": 0.5, "version": 1.0}
_OF_CARRIER = ("labels", "mix", "concept", "new_category")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what it is, the feature and the part of the traffic it touches, and its first day in New York.

    ``other`` is the second feature of a swap; ``share`` of the part's flights are touched; labels come ``days`` later.
    """

    kind: str
    since: date
    feature: str = ""
    part: Slice = ALL
    share: float = 1.0
    other: str = ""
    days: float = 0.0

    @property
    def start(self) -> datetime:
        """The midnight in New York that begins ``since``, in UTC."""
        return day_end(self.since - timedelta(days=1))

    @property
    def release(self) -> str:
        """The version that a ``version`` fault brings."""
        return (self.since - timedelta(days=1)).isoformat()

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature whose values change."""
        whole = {"timezone": ("hour", "minute_of_day"), "join": JOINED}
        return whole.get(self.kind, tuple(filter(None, (self.feature, self.other))) if self.feature else ())

    @property
    def truth(self) -> dict[str, object]:
        """What a monitor should find.

        Keys: ``kind``; ``changes``: feature, label, version, volume, score, prediction or concept; ``feature``: its
        name, several with commas, or empty; ``slice``: ``all`` or ``dimension=value``; ``since``: aware datetime;
        ``share`` of that slice's flights, 0 to 1; ``new``: a category or version not seen before, or empty.
        """
        renamed = NEW_CODES[self.part.value] if self.kind == "new_category" else ""
        return {
            "kind": self.kind,
            "changes": _CHANGES.get(self.kind, "feature"),
            "feature": ",".join(self.features),
            "slice": str(self.part),
            "since": self.start,
            "share": self.share,
            "new": self.release if self.kind == "version" else renamed,
        }

    def touches(self) -> pl.Expr:
        """True for the rows of ``part`` from ``since`` on."""
        here = pl.col("date") >= self.since
        return here & (pl.col(self.part.dimension) == self.part.value) if self.part.dimension else here


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
    usage = CHOICES[kind].partition(" - ")[0]
    most, least = usage.count(":"), usage.count(":") - usage.count("[:")
    if not least <= len(arguments) <= most:
        raise ValueError(f"{len(arguments)} argument(s) after {kind!r}")
    if kind in _SHARES:
        return Fault(kind, since, share=_share(arguments[0]) if arguments else _SHARES[kind])
    if kind in _OF_CARRIER:
        part = Slice("carrier", _among(arguments[0], NEW_CODES))
        return Fault(kind, since, "carrier" if kind == "new_category" else "", part)
    match kind, arguments:
        case "volume", [origin]:
            return Fault(kind, since, part=Slice("origin", _among(origin, ORIGINS)))
        case "delay", [days]:
            return Fault(kind, since, days=_days(days))
        case "lost", [named]:
            return Fault(kind, since, other=_among(named, CLASSES))
        case "swap", [one, two]:
            return Fault(kind, since, _among(one, NUMERIC), other=_among(two, NUMERIC))
        case _, [feature, *where]:
            return Fault(kind, since, _among(feature, _allowed(kind)), _part(where[0]) if where else ALL)
        case _:
            return Fault(kind, since)


def _allowed(kind: str) -> tuple[str, ...]:
    return {"units": tuple(UNITS), "stale": WEATHER, "missing": CORRUPTIBLE, "constant": CORRUPTIBLE}.get(kind, NUMERIC)


def _part(text: str) -> Slice:
    return Slice("origin" if text in ORIGINS else "carrier", _among(text, PARTS))


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= 30:
        raise ValueError(f"{text!r} is no number of days above 0 and up to 30")
    return days


def _among(name: str, allowed: Collection[str]) -> str:
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

"""Panels as code: one definition for the Grafana dashboards and for the built-in page.

A panel's SQL is written once. It may use these bound parameters and no others:

- ``{start:DateTime64(3)}``, ``{end:DateTime64(3)}``: the shown stretch of event time, half open;
- ``{step:UInt32}``: width of one time bucket in seconds;
- ``{name:String}`` for each variable of its board; the empty string means all.

The columns say what is drawn: ``timeseries`` and ``heatmap`` start with ``time``, then perhaps ``series``, then numbers
(``low`` and ``high`` make a band around ``value``); ``bar`` starts with a text; of ``stat`` the last column
of its one row is shown.
"""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

START, END, STEP = "{start:DateTime64(3)}", "{end:DateTime64(3)}", "{step:UInt32}"
PARAMETER = re.compile(r"\{(\w+):(\w+(?:\(\d+\))?)\}")
COLUMNS = 24


class Kind(StrEnum):
    """How a panel is drawn."""

    TIMESERIES = "timeseries"
    STAT = "stat"
    TABLE = "table"
    BAR = "bar"
    HEATMAP = "heatmap"


class Unit(StrEnum):
    """What a panel's numbers are."""

    COUNT = "count"
    RATE = "per second"
    SHARE = "share"  # 0 to 1
    SECONDS = "s"
    USD = "USD"
    TOKENS = "tokens"
    NUMBER = "number"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """A filter of a board: its options are the first column of ``sql``."""

    name: str
    label: str
    sql: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One question to the tables and how its answer is drawn.

    Args:
        width: Of 24 columns.
        min_step_s: Narrowest time bucket that the table behind it can give.
        zero_gaps: A bucket without a row counts as 0 (volumes); else the line breaks there (rates, quantiles).
    """

    title: str
    sql: str
    unit: Unit
    kind: Kind
    description: str
    width: int = 12
    min_step_s: int = 60
    zero_gaps: bool = False
    stacked: bool = False

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the bound parameters in the SQL."""
        return frozenset(match[1] for match in PARAMETER.finditer(self.sql))


@dataclass(frozen=True, slots=True)
class Board:
    """A page of panels. ``hours`` is how much time it shows unless asked otherwise."""

    title: str
    uid: str
    description: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = ()
    hours: int = 24


def within(column: str) -> str:
    """SQL: ``column`` lies in the shown time.

    >>> within("minute")
    'minute >= {start:DateTime64(3)} AND minute < {end:DateTime64(3)}'
    """
    return f"{column} >= {START} AND {column} < {END}"


def matching(*names: str) -> str:
    """SQL: each column equals its variable, or the variable is empty.

    >>> matching("service")
    "({service:String} = '' OR service = {service:String})"
    """
    return " AND ".join(f"({{{name}:String}} = '' OR {name} = {{{name}:String}})" for name in names)


def bucket(column: str) -> str:
    """SQL: the start of the time bucket that ``column`` falls in."""
    return f"toStartOfInterval({column}, toIntervalSecond({STEP}))"


def wilson(share: str, size: str, sign: str) -> str:
    """SQL: one end (``sign`` is + or -) of the 95 % Wilson interval of ``share``, which was seen among ``size``.

    For a score between 0 and 1 it is conservative: no such score varies more than a yes or no with the same mean.
    """
    z = 1.96
    half = f"{z} * sqrt({share} * (1 - {share}) / {size} + {z * z} / (4 * {size} * {size}))"
    return f"({share} + {z * z} / (2 * {size}) {sign} {half}) / (1 + {z * z} / {size})"


def options(column: str, table: str, time: str, where: str = "1") -> str:
    """SQL: the 200 most frequent values of ``column`` in the shown time, for a variable."""
    return (
        f"SELECT {column} AS option FROM {table} WHERE {within(time)} AND {where} AND {column} != '' "
        "GROUP BY option ORDER BY count() DESC, option LIMIT 200"
    )

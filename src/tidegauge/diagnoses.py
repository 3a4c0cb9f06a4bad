"""Diagnoses that were made for alerts: what each found, how sure it is, and who has heard of it.

Rows are only added, all of one step with one token, of which the database keeps the first: a diagnosis ends once,
however many processes believed to make it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from tidegauge.store import Store

COLUMNS = (
    "diagnosis", "state", "model", "rule", "fingerprint", "fired_at", "asked_at", "began", "since", "cause", "part",
    "sure", "words", "took_s", "result", "receiver",
)  # fmt: skip
READ = f"""SELECT {", ".join(COLUMNS)}, written_at FROM alert_diagnoses
WHERE fingerprint IN {{alerts:Array(String)}}
ORDER BY asked_at, multiIf(state = 'begun', 0, state = 'told', 2, 1), written_at"""  # noqa: S608
OF_MODEL = f"""SELECT {", ".join(COLUMNS)}, written_at FROM alert_diagnoses
WHERE model = {{model:String}} AND asked_at >= {{since:DateTime64(6)}} AND state IN ('likely', 'unsure', 'nothing')
ORDER BY asked_at DESC"""  # noqa: S608 - the columns are our own
BEGUN = """SELECT uniqExact(diagnosis) FROM alert_diagnoses
WHERE state = 'begun' AND asked_at > {since:DateTime64(6)}"""


class State(StrEnum):
    """What came of a diagnosis, for one alert."""

    BEGUN = "begun"
    LIKELY = "likely"  # and only this is told to receivers
    UNSURE = "unsure"
    NOTHING = "nothing"
    FAILED = "failed"
    TOLD = "told"


SHOWN = {
    State.BEGUN: "being looked for",
    State.LIKELY: "",
    State.UNSURE: "not told, because it is not sure enough: ",
    State.NOTHING: "none: ",
    State.FAILED: "could not be looked for: ",
}
"""What people read before the words."""


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """One diagnosis as one alert has it.

    Attributes:
        diagnosis: Its id; alerts of one model may share one.
        fired_at: With the fingerprint it names the alert.
        began: When, by the alert, it began; ``since`` is when the diagnosis has it begin.
        sure: ``very likely``, ``likely`` or ``possible``; empty where there is no cause.
        words: What was found in one line, or why nothing was.
        result: JSON with the first causes and each stage.
        ended_at: None while it is being made.
        told: Receivers that have heard of it.
    """

    diagnosis: str
    state: State
    model: str
    rule: str
    fingerprint: str
    fired_at: datetime
    asked_at: datetime
    began: datetime
    since: datetime | None = None
    cause: str = ""
    part: str = ""
    sure: str = ""
    words: str = ""
    took_s: float = 0.0
    result: str = "{}"
    ended_at: datetime | None = None
    told: tuple[str, ...] = ()

    @property
    def same(self) -> tuple[str, str]:
        """What two diagnoses with nothing new have in common."""
        return self.cause, self.part

    @property
    def shown(self) -> str:
        """One line for people."""
        return SHOWN.get(self.state, "") + self.words

    def as_json(self) -> dict[str, Any]:
        """For machines and the page."""
        times = {name: getattr(self, name) for name in ("asked_at", "ended_at", "since")}
        texts = {name: getattr(self, name) for name in ("diagnosis", "model", "cause", "part", "sure", "words")}
        return (
            texts
            | {name: at.isoformat() if at else None for name, at in times.items()}
            | {"state": self.state.value, "shown": self.shown, "took_s": round(self.took_s, 2)}
            | {"told": list(self.told), **json.loads(self.result)}
        )


def read(store: Store, alerts: Collection[str]) -> list[Diagnosed]:
    """The diagnoses of these alerts, by fingerprint; the oldest first."""
    if not alerts:
        return []
    found: dict[tuple[str, str], Diagnosed] = {}
    for row in store.rows(READ, {"alerts": sorted(alerts)}):
        key = row["fingerprint"], row["diagnosis"]
        if row["state"] != State.TOLD:
            known = found.get(key)
            found[key] = _diagnosed(row, known.told if known else ())
        elif key in found and row["receiver"] not in found[key].told:
            found[key] = replace(found[key], told=(*found[key].told, row["receiver"]))
    return list(found.values())


def newest(store: Store, alerts: Collection[str]) -> dict[str, Diagnosed]:
    """Of each of these alerts the last diagnosis."""
    return {each.fingerprint: each for each in read(store, alerts)}


def of_model(store: Store, model: str, since: datetime) -> list[Diagnosed]:
    """What was found out about a model, asked at or after ``since``; the newest first."""
    return [_diagnosed(row, ()) for row in store.rows(OF_MODEL, {"model": model, "since": since})]


def begun_since(store: Store, since: datetime) -> int:
    """How many were begun after ``since``."""
    return int(store.value(BEGUN, {"since": since}) or 0)


def write(store: Store, made: Sequence[Diagnosed], now: datetime) -> None:
    """Store one step of one diagnosis for its alerts; of its ends the first counts."""
    step = "begun" if made[0].state is State.BEGUN else "ended"
    store.insert("alert_diagnoses", [_row(each, now) for each in made], token=_token(made, step))


def tell(store: Store, made: Sequence[Diagnosed], receiver: str, now: datetime) -> None:
    """Store that ``receiver`` has heard of them."""
    told = {"state": State.TOLD.value, "receiver": receiver}
    rows = [_row(each, now) | told for each in made]
    store.insert("alert_diagnoses", rows, token=_token(made, f"told {receiver}"))


def _token(made: Sequence[Diagnosed], step: str) -> str:
    return " ".join([step, *sorted(f"{each.diagnosis} {each.fingerprint}" for each in made)])


def _row(each: Diagnosed, now: datetime) -> dict[str, Any]:
    row = {name: getattr(each, name) for name in COLUMNS if name not in ("state", "receiver")}
    return row | {"state": each.state.value, "receiver": "", "written_at": now}


def _diagnosed(row: Mapping[str, Any], told: tuple[str, ...]) -> Diagnosed:
    values = {name: row[name] for name in COLUMNS if name not in ("state", "receiver")}
    state = State(row["state"])
    ended = None if state is State.BEGUN else row["written_at"]
    return Diagnosed(**values, state=state, ended_at=ended, told=told)

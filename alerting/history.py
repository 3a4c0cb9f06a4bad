"""Transitions as rows of ``alert_events``: the only memory that outlives the process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from tidegauge.alerting.states import AlertState, Notice, State, Transition
from tidegauge.store import Store

_COLUMNS = ", ".join("timestamp" if each.name == "at" else each.name for each in fields(Transition) if each.compare)


def append(store: Store, transitions: Sequence[Transition]) -> None:
    """Store ``transitions``, all of them or none."""
    store.insert("alert_events", [_row(each) for each in transitions])


def restore(store: Store) -> dict[str, AlertState]:
    """Where every series stood when its last row was written; inactive and resolved ones are left out."""
    sql = f"""SELECT * FROM (SELECT {_COLUMNS} FROM alert_events WHERE notice != 'diagnose'
                ORDER BY timestamp DESC LIMIT 1 BY fingerprint)
              WHERE state NOT IN ('inactive', 'resolved')"""  # noqa: S608 - the columns are our own
    found = {each.fingerprint: _state(each) for each in map(_transition, store.rows(sql))}
    for told in _told(store) if any(each.open for each in found.values()) else ():
        if told.fingerprint in found:
            found[told.fingerprint] = found[told.fingerprint].after(told)
    return found


def notices(store: Store, since: datetime) -> list[Transition]:
    """Every transition at or after ``since`` that receivers are told of, oldest first."""
    sql = f"""SELECT {_COLUMNS} FROM alert_events WHERE notice != '' AND timestamp >= {{since:DateTime64(6)}}
              ORDER BY timestamp, notice"""  # noqa: S608 - the columns are our own
    return [_transition(row) for row in store.rows(sql, {"since": since})]


def last_told(store: Store, alerts: Sequence[str]) -> list[tuple[Transition, datetime | None]]:
    """What receivers were last told of each of ``alerts``, by fingerprint, and when it last fired."""
    sql = f"""SELECT {_COLUMNS}, if(f.fires = 0, NULL, f.fired) AS fired_at FROM alert_events
              INNER JOIN (SELECT fingerprint, countIf(notice = 'fire') AS fires,
                maxIf(timestamp, notice = 'fire') AS fired FROM alert_events
                WHERE fingerprint IN {{alerts:Array(String)}} GROUP BY fingerprint) AS f USING (fingerprint)
              WHERE notice NOT IN ('', 'call', 'diagnose')
              ORDER BY timestamp DESC, notice = 'fire' LIMIT 1 BY fingerprint"""  # noqa: S608
    rows = store.rows(sql, {"alerts": list(alerts)})
    return [(_transition({k: v for k, v in row.items() if k != "fired_at"}), row["fired_at"]) for row in rows]


def _told(store: Store) -> Iterator[Transition]:
    """What receivers were told of the alerts that are open now, since the last time that each fired."""
    sql = f"""SELECT {_COLUMNS} FROM alert_events
              INNER JOIN (SELECT fingerprint, maxIf(timestamp, notice = 'fire') AS fired_at FROM alert_events
                GROUP BY fingerprint HAVING argMax(open, timestamp)) AS f USING (fingerprint)
              WHERE notice NOT IN ('', 'resolve') AND timestamp >= fired_at
              ORDER BY timestamp, notice = 'fire' DESC"""  # noqa: S608 - the columns are our own
    return map(_transition, store.rows(sql))


def _row(transition: Transition) -> dict[str, Any]:
    values = asdict(transition)
    del values["evidence"]
    return {"timestamp": values.pop("at")} | {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, State | Notice) else value


def _transition(row: Mapping[str, Any]) -> Transition:
    values = dict(row) | {
        "state": State(row["state"]),
        "previous": State(row["previous"]),
        "notice": Notice(row["notice"]),
        "receivers": tuple(row["receivers"]),
    }
    return Transition(at=values.pop("timestamp"), **values)


def _state(last: Transition) -> AlertState:
    return AlertState(
        last.rule,
        last.labels,
        last.state,
        last.since,
        last.open,
        last.lapsed_since,
        last.severity,
        last.owner,
        last.runbook,
        last.action,
        last.muted,
        last=last if last.open else None,
    )

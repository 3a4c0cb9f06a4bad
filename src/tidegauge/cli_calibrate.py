"""``tidegauge calibrate``: its options, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import load


def calibrate(
    model: Annotated[str, typer.Argument(help="A model that is watched.")],
    draws: Annotated[int, typer.Option(min=0, help="Windows put together from drawn days, for each of 4 groups.")] = 25,
    seed: Annotated[int, typer.Option(help="Of the replay; the same seed gives the same numbers.")] = 0,
    until: Annotated[datetime | None, typer.Option(help="As if it were then, in UTC [default: now]")] = None,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Replay a model's own reference: false alarms a week, what shifts are found, and how soon.

    Takes a minute or two; not while a running service has the embedded database open.
    """
    import numpy as np

    from tidegauge.detectors.calibrate import calibrate as replayed
    from tidegauge.detectors.calibrate import reference_of
    from tidegauge.detectors.sequential.sources import FAMILIES
    from tidegauge.store import Store

    settings = load(config)
    store = Store(settings.dsn, settings.clickhouse.database)
    now = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    watch, datum, families = reference_of(store, settings.detectors, model, now)
    traffic = datum.profile.traffic if datum.profile else None
    pages = settings.detectors.false_pages_per_month / len(FAMILIES)
    found = replayed(model, traffic, watch, datum.kind, families, pages, draws, np.random.default_rng(seed)).as_json()
    typer.echo(json.dumps(found) if json_output else "\n".join(lines(found)))


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The report as text."""
    yield f"{found['model']}: windows of {found['window_hours']:g} h, one every {found['step_hours']:g} h"
    if found["problem"]:
        yield f"windows were not replayed: {found['problem']}"
    for name in ("whole_windows", "windows_of_drawn_days"):
        yield from _counts(name.replace("_", " "), found[name]) if found[name] else ()
    yield from _power(found["power"], found["slow_trend"])
    for name, hours in found["sequential"].items():
        yield from _sequential(name, hours)
    if not found["sequential"]:
        yield "hours: too few for the sequential tests"


def _rate(rate: dict[str, Any], unit: str = "") -> str:
    value = "-" if rate["value"] is None else f"{rate['value']:.3g}"
    return f"{value}{unit} ({rate['low']:.3g} to {rate['high']:.3g})"


def _counts(title: str, counts: dict[str, Any]) -> Iterator[str]:
    yield f"\nno change, {title}: {counts['windows']}"
    for place, rate in counts["windows_with_an_alarm"].items():
        week = counts["alarmed_windows_a_week"][place]
        where = {"anywhere": "anywhere", "traffic": "in all traffic", "slices": "in slices"}[place]
        yield f"  with an alarm {where:<15} {_rate(rate):<26} a week: {_rate(week)}"
    for row in counts["by_detector"]:
        if row["hits"]:
            yield f"  {row['detector']:<16} {row['in']:<8} {row['hits']} of {row['of']} tests: {_rate(row)}"


def _power(power: list[dict[str, Any]], trend: dict[str, Any] | None) -> Iterator[str]:
    if power:
        yield "\na change in one feature, found in all traffic within one window"
    for row in power:
        soon = f"about {row['mean_hours']:g} h" if row["mean_hours"] else "not found"
        yield f"  {row['shift']:<24} {row['size']:<6g} {_rate(row['power']):<26} {soon}"
    if trend:
        windows = f", median {trend['median_windows']:g} windows" if trend["median_windows"] else ""
        yield f"  {trend['course']}: found {_rate(trend['found'])}{windows}"


def _sequential(name: str, hours: dict[str, Any]) -> Iterator[str]:
    pages = hours["false_pages_a_month"]
    yield f"\nsequential tests of {name}, {hours['streams']} streams, {hours['months_replayed']:g} months replayed"
    yield f"  false pages a month: {pages['value']:g}, at most {pages['at_most']:g} at 95 %; wanted {pages['wanted']:g}"
    for row in hours["delays"]:
        soon = f"median {row['median_hours']:g} h" if row["median_hours"] else "none"
        yield f"  {row['change']:<34} found {_rate(row['found']):<26} {soon}"

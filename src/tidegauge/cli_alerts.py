"""``tidegauge alerts``: what fires, who has it, whether it was right, and why it did or did not page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import load
from tidegauge.decisions import Decision
from tidegauge.errors import TidegaugeError
from tidegauge.responses import Action

alerts = typer.Typer(no_args_is_help=True, help="Alerts: what fires, who has it, and why it did or did not page.")
Alert = Annotated[str, typer.Argument(help="The beginning of its id, as `alerts list` prints it.")]
Author = Annotated[str, typer.Option(envvar="USER", help="Who says so.")]
Note = Annotated[str, typer.Option(help="More for whoever reads it later.")]
Slices = Annotated[list[str] | None, typer.Option("--slice", help="label=value of the slice; may be given again.")]
LINE = "{id:<12}  {state:<12}  {severity:<6}  {since:<16}  {summary}"


@alerts.command("list")
def alerts_list(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over or quiet.")] = False,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """List alerts that fire, are pending, or cannot be told: id, state, severity, since when, what, and who has it."""
    from tidegauge.alerting.answering import answering

    found = answering(load(config)).listed(everything=everything)
    _out(found, json_output, "\n".join(map(_line, found)) or "nothing fires")


@alerts.command("show")
def alerts_show(alert: Alert, config: ConfigFile = None, json_output: AsJson = False) -> None:
    """Show one alert with its likely cause and its last fifty changes."""
    from tidegauge.alerting.answering import answering

    found = answering(load(config)).one(alert)
    _out(found, json_output, "\n".join(_shown(found)))


@alerts.command("ack")
def alerts_ack(alert: Alert, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Say that you have it: nobody else is called and nobody is reminded; receivers are told who has it."""
    _respond(alert, Action.ACK, author, note, config, "you have it")


@alerts.command("resolve")
def alerts_resolve(alert: Alert, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Say that it is over. Where it still fires after an hour, it is told of again."""
    _respond(alert, Action.RESOLVE, author, note, config, "receivers are told that it is over")


@alerts.command("true")
def alerts_true(alert: Alert, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Say that the last time it fired it was right."""
    _respond(alert, Action.TRUE, author, note, config, "counted as a true alarm")


@alerts.command("false")
def alerts_false(alert: Alert, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Say that the last time it fired it was a false alarm."""
    _respond(alert, Action.FALSE, author, note, config, "counted as a false alarm")


@alerts.command("why")
def alerts_why(
    rule: Annotated[str, typer.Argument(help="Name of the rule.")],
    slices: Slices = None,
    since: Annotated[datetime | None, typer.Option(help="From when on, in UTC [default: seven days ago]")] = None,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Say why a rule did or did not page: every change, delivery, answer and suppression with its reason.

    Where the database can be read, also what the rule saw: how often its condition held, and the value closest to it.
    """
    from tidegauge.alerting.answering import InDatabase, answering
    from tidegauge.alerting.rules import check_rules
    from tidegauge.alerting.seen import seen
    from tidegauge.alerts import span
    from tidegauge.incidents import Incidents
    from tidegauge.silences import parse_matchers

    settings = load(config)
    reached, labels = answering(settings), parse_matchers(slices or [])
    stretch = span(datetime.now(UTC), since.replace(tzinfo=UTC) if since else None, 7)
    log = reached.why(rule, stretch, labels)
    known = [each for each in check_rules(settings.alerting.rules) if each.alert == rule]
    if not known and not log:
        raise TidegaugeError(f"there is no rule {rule!r}, and nothing was decided about one of this name")
    looks = []
    if known and isinstance(reached, InDatabase):
        left_out = Incidents(settings.detectors.incidents, settings.detectors.incident_files).all()
        looks = seen(reached.store, known[0], stretch, labels, left_out)[:20]
    saw = [
        f"seen {each.rounds} times for {_text(each.labels)}, the condition held in {each.held}; "
        f"closest at {each.closest[0]:%Y-%m-%d %H:%M}: {each.closest[1]}"
        for each in looks
    ]
    _out(
        {"decisions": [each.as_json() for each in log], "seen": saw},
        json_output,
        "\n".join([*map(_decided, log), *saw]) or "nothing was decided, and there are no values",
    )


@alerts.command("digest")
def alerts_digest(
    days: Annotated[float, typer.Option(min=0.01, help="How far back.")] = 7,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Say of each rule how often it fired, how often it was right, and of those mostly wrong the cheapest mend."""
    from tidegauge.alerting.digest import week
    from tidegauge.alerting.rules import check_rules
    from tidegauge.alerts import span
    from tidegauge.store import Store

    settings = load(config)
    stretch = span(datetime.now(UTC), None, days)
    store = Store(settings.dsn, settings.clickhouse.database)
    found = week(store, check_rules(settings.alerting.rules), stretch.start, stretch.end)
    lines = [
        f"{each.rule}: fired {each.fired} times, {each.right} true, {each.wrong} false"
        + f"; {each.mend}" * bool(each.mend)
        for each in found
    ]
    _out([each.as_json() for each in found], json_output, "\n".join(lines) or "no rule fired")


def _respond(alert: str, action: Action, author: str, note: str, config: Path | None, done: str) -> None:
    from tidegauge.alerting.answering import answering

    answering(load(config)).respond(alert, action, author, note)
    typer.echo(f"{alert}: {done}")


def _line(row: dict[str, Any]) -> str:
    from tidegauge.alerting.text import plain

    who = f" [{plain(row['acknowledged'], 60)} has it]" if row["acknowledged"] else ""
    who += f" [not told: {plain(row['muted'], 120)}]" if row["muted"] else ""
    values = {"id": row["fingerprint"][:12], "since": str(row["since"])[:16].replace("T", " ")}
    return LINE.format(**row | values | {"summary": plain(row["summary"], 200)}) + who


def _shown(row: dict[str, Any]) -> Iterator[str]:
    from tidegauge.alerting.text import plain

    yield _line(row)
    yield f"labels: {_text(row['labels'])}; owner: {plain(row['owner'])}; told: {', '.join(row['told']) or 'nobody'}"
    yield f"action: {plain(row['action'])}"
    yield f"runbook: {plain(row['runbook'])}"
    for each in row["diagnoses"][:1]:
        yield f"likely cause: {plain(each['shown'], 600)}"
        yield f"asked at {str(each['asked_at'])[:16].replace('T', ' ')} UTC; told {', '.join(each['told']) or 'nobody'}"
    for each in row["course"]:
        change = each["notice"] or f"{each['previous']} -> {each['state']}"
        yield f"{str(each['timestamp'])[:19]}  {change:<24}  {plain(each['reason'])}"


def _decided(each: Decision) -> str:
    from tidegauge.alerting.text import plain

    who = f" ({plain(each.receiver, 100)})" if each.receiver else ""
    return f"{each.at:%Y-%m-%d %H:%M:%S}  [{_text(each.labels)}]  {each.words}{who}: {plain(each.detail, 400)}"


def _text(labels: Any) -> str:
    from tidegauge.alerting.text import labels_text

    return labels_text(labels)


def _out(data: dict[str, Any] | Sequence[Any], as_json: bool, text: str) -> None:
    typer.echo(json.dumps(data, default=str) if as_json else text)

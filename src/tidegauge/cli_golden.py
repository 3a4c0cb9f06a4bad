"""``tidegauge golden``: failures that are worth keeping as test cases; looked for, decided on, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import Settings, load
from tidegauge.errors import InvalidRecord
from tidegauge.golden import Candidate, State, from_json, one, read
from tidegauge.golden import decide as decide_in
from tidegauge.golden_export import check_format
from tidegauge.golden_export import export as export_to
from tidegauge.model import Window
from tidegauge.running import Page, reach

golden = typer.Typer(no_args_is_help=True, help="The golden set: failures proposed as test cases, with their reasons.")
Which = Annotated[str, typer.Argument(help="The beginning of its id, as `golden list` prints it.")]
Author = Annotated[str, typer.Option(envvar="USER", help="Who says so.")]
Note = Annotated[str, typer.Option(help="Why.")]
Subject = Annotated[str, typer.Option(help="Only those of this service or model.")]
StateOption = Annotated[str, typer.Option("--state", help="proposed, accepted or rejected; empty for all.")]
MOST = 100_000


@golden.command("propose")
def golden_propose(
    since: Annotated[
        datetime | None, typer.Option(help="First moment, in UTC [default: golden.look_back_days before --until]")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Last moment, in UTC [default: now]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Breaks ties: the same records and seed, the same choice.")] = 0,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Look for failures now, without waiting for the week to be over; never the same twice."""
    settings = load(config)
    end = until.replace(tzinfo=UTC) if until else datetime.now(UTC)
    start = since.replace(tzinfo=UTC) if since else end - timedelta(days=settings.golden.look_back_days)
    if start >= end:
        raise InvalidRecord(f"--since must be before --until, got {start} and {end}")
    found = propose(settings, Window(start, end), seed)
    lines = [
        f"{each['subject']}: {each['proposed']} proposed of {each['failures']} failures, {each['different']} different"
        for each in found["rounds"]
    ]
    candidates = [from_json(each) for each in found["candidates"]]
    _out(found, json_output, [*lines, *map(_line, candidates)], "no failure was found")


@golden.command("list")
def golden_list(
    state: StateOption = "proposed", subject: Subject = "", config: ConfigFile = None, json_output: AsJson = False
) -> None:
    """List candidates, the newest first: id, state, of what, when, how many say the same, reasons, and the input."""
    found = candidates(load(config), state, subject, most=1000)
    _out([each.as_json() for each in found], json_output, list(map(_line, found)), f"none {state}".strip())


@golden.command("show")
def golden_show(candidate: Which, config: ConfigFile = None, json_output: AsJson = False) -> None:
    """Show one candidate with all that is known of it."""
    found = _one(load(config), candidate)
    _out(found.as_json(), json_output, list(_shown(found)), "")


@golden.command("accept")
def golden_accept(
    candidate: Which,
    author: Author,
    note: Note = "",
    expected: Annotated[str, typer.Option(help="What the output should have been.")] = "",
    config: ConfigFile = None,
) -> None:
    """Take it into the golden set."""
    _decide(load(config), candidate, State.ACCEPTED, author, note, expected)
    typer.echo(f"{candidate}: accepted")


@golden.command("reject")
def golden_reject(candidate: Which, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Leave it out for good; of its contents the masked input alone is kept, so that nothing like it comes again."""
    _decide(load(config), candidate, State.REJECTED, author, note, "")
    typer.echo(f"{candidate}: rejected")


@golden.command("export")
def golden_export(
    out: Annotated[
        Path, typer.Argument(help="Ends in .jsonl or .parquet for every column, .json for evaluation tools.")
    ],
    state: StateOption = "accepted",
    subject: Subject = "",
    config: ConfigFile = None,
) -> None:
    """Write the golden set to a file; .json has input, expected_output, context and metadata of each."""
    check_format(out)
    settings = load(config)
    written = export_to(candidates(settings, state, subject, most=MOST), out, settings.alerting.page_url)
    typer.echo(f"{out}: {written} candidates")


def propose(settings: Settings, window: Window, seed: int) -> dict[str, Any]:
    """Look for failures in the database, or have the running service that owns it do so."""
    found = reach(settings)
    if isinstance(found, Page):
        times = {"since": window.start.isoformat(), "until": window.end.isoformat()}
        answer: dict[str, Any] = found.post("/api/golden/propose", times | {"seed": seed}).json()
        return answer
    from tidegauge.app import proposing

    return proposing(found, settings).run(window, datetime.now(UTC), seed).as_json()


def candidates(settings: Settings, state: str, subject: str, most: int) -> list[Candidate]:
    """From the database, or over the page of the running service that owns it."""
    found = reach(settings)
    if isinstance(found, Page):
        asked = {"state": state, "subject": subject, "most": str(most)}
        return [from_json(each) for each in found.get("/api/golden", asked).json()]
    return read(found, state, subject, most=most)


def _one(settings: Settings, start: str) -> Candidate:
    found = reach(settings)
    return (
        from_json(found.get("/api/golden", {"id": start}).json()[0]) if isinstance(found, Page) else one(found, start)
    )


def _decide(settings: Settings, start: str, state: State, author: str, note: str, expected: str) -> None:
    found = reach(settings)
    if isinstance(found, Page):
        said = {"author": author, "note": note, "expected": expected}
        found.post(f"/api/golden/{quote(start, safe='')}/{state}", said)
        return
    decide_in(found, start, state, author, datetime.now(UTC), note=note, expected=expected)


def _line(each: Candidate) -> str:
    many = f" (+{each.alike - 1} alike)" if each.alike > 1 else ""
    asked = _plain(each.input, 90) or "content not captured"
    return (
        f"{each.candidate_id}  {each.state:<8}  {_plain(each.subject, 30):<20}  {each.timestamp:%Y-%m-%d %H:%M}  "
        f"{', '.join(each.reasons)}{many}: {asked}"
    )


def _shown(each: Candidate) -> Iterator[str]:
    yield _line(each)
    yield from (f"  {reason}: {_plain(detail, 500)}" for reason, detail in each.reasons.items())
    yield f"{each.kind}: {_plain(each.record_id, 200)}; `tidegauge trace` shows it whole"
    for name, values in (("slices", each.slices), ("versions", each.versions)):
        yield f"{name}: {', '.join(f'{key}={_plain(value, 200)}' for key, value in values.items()) or '-'}"
    for name, text in (("input", each.input), ("output", each.output), ("expected", each.expected)):
        yield f"{name}: {_plain(text, 4000) or '-'}"
    yield from (f"context: {_plain(text, 1000)}" for text in each.context)
    if each.decided_at:
        when = f"{each.decided_at:%Y-%m-%d %H:%M}"
        yield f"{each.state} by {_plain(each.author, 100)} at {when}: {_plain(each.note, 1000)}"


def _plain(text: str, most: int) -> str:
    """One line without control characters, for a terminal."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _out(data: Any, as_json: bool, lines: Sequence[str], otherwise: str) -> None:
    typer.echo(json.dumps(data) if as_json else "\n".join(lines) or otherwise)

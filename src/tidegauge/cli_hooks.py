"""``tidegauge hooks``: what is proposed, what was decided of it, and what came of the call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from tidegauge.cli_alerts import Author, Note, Slices
from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.config import load
from tidegauge.hooks import State

hooks = typer.Typer(no_args_is_help=True, help="Hooks: retraining, rollback and others, called once people agree.")
Proposal = Annotated[str, typer.Argument(help="The beginning of its id, as `hooks list` prints it.")]
LINE = "{id:<12}  {state:<10}  {hook:<20}  {at:<16}  {note}"


@hooks.command("list")
def hooks_list(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are decided or over.")] = False,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """List proposals of the last 90 days that wait for a decision or are being called: id, state, hook, when, why."""
    from tidegauge.alerting.hooks.deciding import deciding

    waiting = (State.PROPOSED, State.APPROVED, State.CALLED)
    found = [each for each in deciding(load(config)).listed() if everything or each["state"] in waiting]
    typer.echo(json.dumps(found) if json_output else "\n".join(map(_line, found)) or "nothing waits for a decision")


@hooks.command("show")
def hooks_show(proposal: Proposal, config: ConfigFile = None, json_output: AsJson = False) -> None:
    """Show one proposal: the alert behind it, who decided what, and every attempt's outcome."""
    from tidegauge.alerting.hooks.deciding import deciding

    found = deciding(load(config)).one(proposal)
    typer.echo(json.dumps(found) if json_output else "\n".join(_shown(found)))


@hooks.command("approve")
def hooks_approve(proposal: Proposal, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Agree: the hook is called in the next round of the alert loop."""
    from tidegauge.alerting.hooks.deciding import deciding

    found = deciding(load(config)).decide(proposal, State.APPROVED, author, note)
    typer.echo(f"{found['proposal'][:12]}: approved; {found['hook']} is called in the next round")


@hooks.command("reject")
def hooks_reject(proposal: Proposal, author: Author, note: Note = "", config: ConfigFile = None) -> None:
    """Disagree: the hook is not called, and may be proposed to again when the next alert fires."""
    from tidegauge.alerting.hooks.deciding import deciding

    found = deciding(load(config)).decide(proposal, State.REJECTED, author, note)
    typer.echo(f"{found['proposal'][:12]}: rejected; {found['hook']} is not called")


@hooks.command("call")
def hooks_call(
    hook: Annotated[str, typer.Argument(help="Its name in the configuration.")],
    author: Author,
    note: Annotated[str, typer.Option(help="Why, for whoever reads it later.")],
    slices: Slices = None,
    config: ConfigFile = None,
) -> None:
    """Have a hook called without an alert, whatever its interval: recorded as proposed and approved by you."""
    from tidegauge.alerting.hooks.deciding import deciding
    from tidegauge.silences import parse_matchers

    found = deciding(load(config)).call(hook, parse_matchers(slices or []), author, note)
    typer.echo(f"{found['proposal'][:12]}: {hook} is called in the next round")


def _line(row: dict[str, Any]) -> str:
    from tidegauge.alerting.text import plain

    at = str(row["proposed_at"])[:16].replace("T", " ")
    return LINE.format(**row | {"id": row["proposal"][:12], "at": at, "note": plain(row["note"], 200)})


def _shown(row: dict[str, Any]) -> Iterator[str]:
    from tidegauge.alerting.text import labels_text, plain

    yield _line(row)
    yield f"kind: {row['kind']}; labels: {labels_text(row['labels'])}; told: {', '.join(row['tell']) or 'nobody'}"
    if row["fingerprint"]:
        yield f"alert: {plain(row['rule'])} ({row['fingerprint'][:12]}), fired {row['fired_at'][:16].replace('T', ' ')}"
    yield f"to be decided until: {row['expires_at'][:16].replace('T', ' ')} UTC"
    if row["decided_at"]:
        said = f": {plain(row['said'])}" if row["said"] else ""
        yield f"decided: {row['decided_at'][:16].replace('T', ' ')} UTC by {plain(row['decided_by'], 100)}{said}"
    if row["attempts"]:
        last = row["ended_at"][:16].replace("T", " ")
        yield f"called: {row['attempts']} attempt(s), the last {last} UTC: {plain(row['result'])}"

"""What the demonstration prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tidegauge import instruments
from tidegauge.alerting.states import Notice, Transition
from tidegauge.app import Service
from tidegauge.collectors.sdk import Client
from tidegauge.demo.flights.faults import Fault
from tidegauge.demo.flights.model import Fitted
from tidegauge.demo.inbox import Message
from tidegauge.detectors.finding import Finding, Verdict
from tidegauge.metrics.sources import PART
from tidegauge.model import Signal, Slice

COUNTS = {
    "predictions": "SELECT count() FROM predictions",
    "labels": "SELECT count() FROM labels",
    "spans": "SELECT count() FROM otel_traces",
    "LLM calls": "SELECT count() FROM llm_facts WHERE kind = 'llm'",
    "feedback": "SELECT count() FROM feedback",
    "judge scores": "SELECT count() FROM scores",
    "drift findings": "SELECT count() FROM findings WHERE verdict = 'drift'",
    "undetermined findings": "SELECT count() FROM findings WHERE verdict = 'undetermined'",
}
STRONGEST = f"""SELECT * FROM (
  SELECT subject, feature, {PART} AS part, detector,
    min(since) AS first, uniqExact(window_end) AS windows, max(effect) AS size, argMax(p_adjusted, effect) AS p,
    argMax(n_current, effect) AS n, max(effect / effect_floor) AS times_floor
  FROM findings WHERE verdict = 'drift' AND effect_floor > 0 GROUP BY subject, feature, part, detector
  ORDER BY part = 'all' DESC, times_floor DESC LIMIT 1 BY subject, feature)
ORDER BY times_floor DESC LIMIT 15"""  # noqa: S608 - a constant
ALERTS = """SELECT rule, countIf(state = 'firing' AND previous != 'firing') AS fired,
  countIf(state = 'resolved') AS resolved, any(severity) AS severity, any(owner) AS owner
FROM alert_events GROUP BY rule HAVING fired > 0 ORDER BY severity, rule"""
SHOWN_PER_ROUND = 2


class Screen:
    """Prints as the replay goes; remembers which drifts it has shown."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        if not self._console.is_terminal:
            self._console.width = 150
        self._begun = time.monotonic()
        self._seen: set[tuple[str, str, str]] = set()
        self._hidden = 0
        self._shown_month = ""
        self._delivered: dict[str, int] = {}

    def choices(self, choices: Mapping[str, str]) -> None:
        """The faults that can be injected."""
        for line in choices.values():
            self._console.print(escape(f"  {line}"))
        self._console.print("  then @ and the first day, such as @2013-07-01")

    def start(self, service: Service, fault: Fault | None) -> None:
        """What runs where."""
        settings = service.settings
        self._console.print("[bold]Tidegauge demo[/bold]: two real streams, replayed through the whole system\n")
        self._console.print(f"  receiver   {service.receiver_url} (OTLP/HTTP), {service.grpc_url} (OTLP/gRPC)")
        self._console.print(f"  database   embedded ClickHouse in {settings.data_dir}")
        self._console.print(f"  page       {service.page_url}")
        self._console.print(f"  judge      {settings.judges.model}, a small deterministic model of the demo's own")
        self._console.print(f"  embeddings {_embeddings(settings.detectors.embedder)}")
        if fault:
            self._console.print(f"  fault      {escape(str(fault.truth))}")
        self._console.print()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Says what is being done, and how long it took."""
        begun = time.monotonic()
        self._console.print(f"  {name} ...", end=" ")
        yield
        self._console.print(f"{time.monotonic() - begun:.1f} s")

    def model(self, fitted: Fitted) -> None:
        """How good the model is before it goes live."""
        quality = fitted.quality
        self._console.print(
            f"  {quality.flights:,} labelled flights, {quality.late_rate:.1%} late; "
            f"AUC {quality.auc:.3f}, Brier {quality.brier:.3f} on days kept from it"
        )

    @contextmanager
    def replaying(self, total: int) -> Iterator[Callable[[datetime], None]]:
        """A progress bar over the events; what is found is printed above it."""
        self._console.print()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("replaying", total=total)

            def advance(at: datetime) -> None:
                records = f"{_records_in():,} records in"
                progress.update(task, advance=1, description=f"simulated time {at:%Y-%m-%d %H:%M}, {records}")
                self._month(at, records)

            yield advance

    def _month(self, at: datetime, records: str) -> None:
        if f"{at:%Y-%m}" != self._shown_month:
            self._shown_month = f"{at:%Y-%m}"
            self._console.print(f"[dim]month  {at:%Y-%m-%d}  {records}[/dim]")

    def findings(self, findings: Iterable[Finding]) -> None:
        """Drift that was not there before, the largest first."""
        new = [each for each in findings if each.verdict is Verdict.DRIFT and self._first(each)]
        new.sort(key=_importance, reverse=True)
        for each in new[:SHOWN_PER_ROUND]:
            self._console.print(_drift_line(each))
        self._hidden += len(new[SHOWN_PER_ROUND:])

    def transitions(self, transitions: Iterable[Transition]) -> None:
        """Alerts that begin or end."""
        for each in transitions:
            if each.notice is not Notice.NONE:
                self._console.print(_alert_line(each))

    def deliveries(self, messages: Iterable[Message]) -> None:
        """What arrived at the receivers; the first of each kind in full."""
        for each in messages:
            first = each.service not in self._delivered
            self._delivered[each.service] = self._delivered.get(each.service, 0) + 1
            if first:
                self._console.print(f"[dim]            the first message that {each.service} received:[/dim]")
                self._console.print(escape(_indented(_text(each))), style="dim")

    def loss(self, *clients: Client) -> None:
        """What the clients had to drop: nothing, or the run says so."""
        dropped = sum(client.dropped + client.rejected for client in clients)
        if dropped:
            self._console.print(f"[red]{dropped} records were dropped by the SDK[/red]")

    def summary(self, service: Service) -> None:
        """The tables at the end."""
        store = service.store
        assert store
        self._console.print(f"\n[bold]Replayed in {time.monotonic() - self._begun:.0f} s[/bold]\n")
        counts = Table("stored", "rows", title="Records", title_justify="left")
        for name, sql in COUNTS.items():
            counts.add_row(name, f"{store.value(sql):,}")
        self._console.print(counts)
        drift = Table(
            *("what", "for whom", "first since", "windows", "by", "largest effect", "x floor", "p", "n"),
            title="Largest drifts, one line a feature",
            title_justify="left",
        )
        for row in store.rows(STRONGEST):
            drift.add_row(*_summary_row(row))
        self._console.print(drift)
        alerts = Table("rule", "severity", "owner", "fired", "resolved", title="Alerts", title_justify="left")
        for row in store.rows(ALERTS):
            alerts.add_row(*(str(row[key]) for key in ("rule", "severity", "owner", "fired", "resolved")))
        self._console.print(alerts)
        sent = ", ".join(f"{service} {count}" for service, count in sorted(self._delivered.items())) or "none"
        self._console.print(f"Messages received on loopback in place of Slack and PagerDuty: {sent}")
        if self._hidden:
            self._console.print(
                f"{self._hidden} further drifts (slices and features) were found and not printed: see the page"
            )
        self._console.print(f"Page: {service.page_url}")

    def stays(self, url: str) -> None:
        """The page is up."""
        self._console.print(f"\n[bold]Open {url}[/bold] - Ctrl-C ends it")

    def _first(self, finding: Finding) -> bool:
        key = (finding.subject, finding.feature, str(_part(finding)))
        new = key not in self._seen
        self._seen.add(key)
        return new


def _records_in() -> int:
    name = "tidegauge_accepted_records_total"
    signals = (each.name.lower() for each in Signal)
    return int(sum(instruments.REGISTRY.get_sample_value(name, {"signal": each}) or 0 for each in signals))


def _embeddings(embedder: str) -> str:
    if embedder == "auto" and find_spec("sentence_transformers"):
        return "all-MiniLM-L6-v2 by sentence-transformers"
    return "none: questions are compared by their words (make demo without LIGHT=1 installs a model of their meaning)"


def _part(finding: Finding) -> Slice:
    return Slice(finding.dimension, finding.slice)


def _importance(finding: Finding) -> tuple[bool, float]:
    effect = finding.effect or 0.0
    return finding.dimension == "", effect / finding.effect_floor if finding.effect_floor else effect


def _drift_line(each: Finding) -> str:
    since = f"{each.since:%Y-%m-%d %H:%M}" if each.since else "?"
    sure = f"p {each.p_adjusted:.1g}" if each.p_adjusted is not None else "p ?"
    size = (
        f"{each.effect:.2g} (floor {each.effect_floor:.2g})" if each.effect is not None and each.effect_floor else "?"
    )
    return (
        f"[yellow]drift[/yellow]  {each.window_end:%Y-%m-%d %H:%M}  {escape(each.subject)} "
        f"[bold]{escape(each.feature)}[/bold] in {escape(str(_part(each)))}, since {since}: "
        f"{each.detector} effect {size}, {sure}, n {each.n_current:,}"
    )


def _alert_line(each: Transition) -> str:
    colour = {"page": "red", "triage": "magenta"}.get(each.severity, "blue")
    word = "fires" if each.notice is Notice.FIRE else "is over"
    labels = ", ".join(f"{key}={value}" for key, value in each.labels.items())
    return (
        f"[{colour}]alert[/{colour}]  {each.at:%Y-%m-%d %H:%M}  [bold]{escape(each.rule)}[/bold] {word} "
        f"({each.severity}) {escape(labels)}: {escape(each.reason)}"
    )


def _text(message: Message) -> str:
    if message.service == "PagerDuty":
        payload: dict[str, Any] = message.body.get("payload", {})
        return f"{message.body.get('event_action')} {message.body.get('dedup_key')}\n{payload.get('summary', '')}"
    return str(message.body.get("text", ""))


def _indented(text: str) -> str:
    return "\n".join(f"            | {line}" for line in text.splitlines())


def _summary_row(row: Mapping[str, Any]) -> list[str]:
    return [
        escape(f"{row['subject']} {row['feature']}"),
        escape(row["part"]),
        f"{row['first']:%Y-%m-%d %H:%M}",
        str(row["windows"]),
        row["detector"],
        f"{row['size']:.3g}",
        f"{row['times_floor']:.1f}",
        f"{row['p']:.1g}" if row["p"] is not None else "",
        f"{row['n']:,}",
    ]

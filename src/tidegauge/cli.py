"""The command line. Text on stdout, logs on stderr; exit codes: 0 ok, 1 failed, 2 usage or configuration."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegauge import __version__
from tidegauge.cli_alerts import alerts
from tidegauge.cli_calibrate import calibrate
from tidegauge.cli_compare import compare
from tidegauge.cli_diagnose import diagnose
from tidegauge.cli_golden import golden
from tidegauge.cli_hooks import hooks
from tidegauge.cli_load import load as load_files
from tidegauge.cli_options import AsJson, ConfigFile
from tidegauge.cli_reference import app as references
from tidegauge.config import Settings, load
from tidegauge.errors import ConfigError, TidegaugeError
from tidegauge.memory import keep_freed_blocks, leave_settled_objects_alone

if TYPE_CHECKING:
    from tidegauge.app import Service

app = typer.Typer(
    name="tidegauge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Monitoring and drift detection for ML models and LLM applications.\n\n"
    "Start with `tidegauge up`, point any OpenTelemetry exporter at it, and open the page it names.",
)
dashboards = typer.Typer(no_args_is_help=True, help="The Grafana dashboards, made from the same panels as the page.")
config = typer.Typer(no_args_is_help=True, help="The configuration.")
rules = typer.Typer(no_args_is_help=True, help="Alert rules.")
app.add_typer(dashboards, name="dashboards")
app.add_typer(config, name="config")
app.add_typer(rules, name="rules")
keys = typer.Typer(no_args_is_help=True, help="API keys for sending to the receiver.")
app.add_typer(keys, name="keys")
dlq = typer.Typer(no_args_is_help=True, help="Dead letters: Kafka records that could not be stored.")
app.add_typer(dlq, name="dlq")
app.add_typer(references, name="reference")
silences = typer.Typer(no_args_is_help=True, help="Quiet about some alerts for some time; also on the page's alerts.")
app.add_typer(silences, name="silences")
app.add_typer(alerts, name="alerts")
app.add_typer(hooks, name="hooks")
app.add_typer(golden, name="golden")

Topic = Annotated[str, typer.Option(help="Only those that came from this topic.")]
PartitionNumber = Annotated[int | None, typer.Option("--partition", help="Only those from this partition.", min=0)]
Reason = Annotated[str, typer.Option(help="Only those whose kind and reason contain this text.")]


def main() -> None:
    """Entry point of the ``tidegauge`` command."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("kafka").setLevel(logging.WARNING)
    try:
        app()
    except ConfigError as error:
        typer.echo(f"tidegauge: {error}", err=True)
        raise SystemExit(2) from None
    except TidegaugeError as error:
        typer.echo(f"tidegauge: {error}", err=True)
        raise SystemExit(1) from None


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Shared options."""
    if show:
        typer.echo(f"tidegauge {__version__}")
        raise typer.Exit


@app.command()
def up(config: ConfigFile = None) -> None:
    """Run everything in one process: receiver, detectors, judges, alerting and the page.

    Needs neither Kafka nor a ClickHouse server; with them configured it uses them. Stop it with Ctrl-C.
    """
    _run(config, "receiver", "sink", "worker", "page")


@app.command()
def receiver(config: ConfigFile = None) -> None:
    """Run the OTLP receiver alone; it writes to Kafka."""
    _run(config, "receiver")


@app.command()
def sink(config: ConfigFile = None) -> None:
    """Run one sink alone: Kafka to ClickHouse, each record once. Start as many as there are partitions."""
    _run(config, "sink")


@app.command()
def worker(config: ConfigFile = None) -> None:
    """Run detectors, judges and alerting alone."""
    _run(config, "worker")


@app.command()
def page(config: ConfigFile = None) -> None:
    """Run the built-in page alone."""
    _run(config, "page")


@app.command()
def demo(
    exit: Annotated[
        bool, typer.Option("--exit", help="Stop when the replay is over instead of serving the page.")
    ] = False,
    fault: Annotated[
        str, typer.Option(help="Inject a fault, such as units:distance@2013-07-01; `list` names them all.")
    ] = "",
    days: Annotated[int, typer.Option(help="Days of flights to replay, from 2013-04-01.", min=7, max=275)] = 275,
    light: Annotated[bool, typer.Option("--light", help="Leave out sentence embeddings even where installed.")] = False,
) -> None:
    """Replay two real streams through the whole system and show what it finds; takes about two minutes."""
    from tidegauge.demo.run import run_demo

    logging.getLogger().setLevel(logging.WARNING)
    raise typer.Exit(run_demo(stay=not exit, fault=fault, days=days, light=light))


@app.command()
def migrate(
    again: Annotated[
        bool, typer.Option("--again", help="Create what is missing, as on a node that joined later.")
    ] = False,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Bring the database to the newest schema and the configured retention, and say what was changed."""
    from tidegauge.collectors.schema import migrate as apply
    from tidegauge.collectors.schema import retain
    from tidegauge.store import Store

    settings = load(config)
    store = Store(settings.dsn, settings.clickhouse.database)
    done = [{"version": each.version, "name": each.name} for each in apply(store, settings.clickhouse, again=again)]
    kept = [
        {"table": each.table, "retention": each.after or "for ever"}
        for each in retain(store, settings.retention, settings.clickhouse.cluster)
    ]
    _print([*done, *kept], json_output, "the schema is up to date")


@app.command()
def report(
    subject: Annotated[str, typer.Argument(help="A model or an LLM service.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("drift-report.html"),
    days: Annotated[float, typer.Option(min=0.01, help="How far back from --until.")] = 7,
    until: Annotated[datetime | None, typer.Option(help="Last moment, in UTC [default: now]")] = None,
    config: ConfigFile = None,
) -> None:
    """Write what drifted into one HTML file, to hand to somebody who has no access here."""
    from tidegauge.dashboards.report import drift_report
    from tidegauge.model import Window
    from tidegauge.store import Store

    settings = load(config)
    end = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    store = Store(settings.dsn, settings.clickhouse.database)
    known = [row["subject"] for row in store.rows("SELECT DISTINCT subject FROM findings ORDER BY subject")]
    if subject not in known:
        raise TidegaugeError(f"there are no findings of {subject!r}; there are of: {', '.join(known) or 'nothing yet'}")
    out.write_text(drift_report(store, subject, Window(end - timedelta(days=days), end), end))
    typer.echo(out)


@app.command()
def trace(
    identifier: Annotated[str, typer.Argument(help="A prediction id or a trace id.")],
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Print all that is known of one answer: versions, spans, scores, labels, and the drift it belongs to."""
    from tidegauge.dashboards.lineage.source import source
    from tidegauge.dashboards.lineage.text import lineage_text
    from tidegauge.dashboards.query import plain

    found = source(load(config)).lineage(identifier)
    typer.echo(json.dumps(plain(found)) if json_output else lineage_text(found))


Version = Annotated[str, typer.Option()]


@app.command()
def affected(
    model: Version = "",
    model_version: Version = "",
    base_model: Version = "",
    fine_tune: Version = "",
    prompt: Version = "",
    tool_schema: Version = "",
    retrieval_index: Version = "",
    embedding_model: Version = "",
    eval_pass: Version = "",
    training_data_hash: Version = "",
    days: Annotated[float, typer.Option(min=0.01, help="How far back from --until.")] = 30,
    until: Annotated[datetime | None, typer.Option(help="Last moment, in UTC [default: now]")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write each record to this .csv, .parquet or .jsonl file.")
    ] = None,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """List what a version touched, by tenant, service and hour; of several versions, where all of them hold."""
    from tidegauge.dashboards.lineage import VERSIONS, Selection
    from tidegauge.dashboards.lineage.source import source
    from tidegauge.dashboards.lineage.text import affected_text
    from tidegauge.dashboards.query import plain
    from tidegauge.model import Window

    given = locals()
    wanted = {name: given[name] for name in VERSIONS if given[name]}
    if not wanted:
        raise typer.BadParameter(f"name a version: --{', --'.join(VERSIONS).replace('_', '-')}")
    selection = Selection(wanted)
    end = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    reader = source(load(config))
    found = reader.affected(selection, Window(end - timedelta(days=days), end))
    typer.echo(json.dumps(plain(found.as_json())) if json_output else affected_text(found))
    if out:
        reader.export(found, out)
        typer.echo(f"each record: {out}", err=True)


app.command("load")(load_files)
app.command("diagnose")(diagnose)
app.command("calibrate")(calibrate)
app.command("compare")(compare)


@app.command("create-topics")
def create_topics(config: ConfigFile = None, json_output: AsJson = False) -> None:
    """Create the Kafka topics that do not exist yet, and set the retention of those that do."""
    from tidegauge.collectors.kafka.topics import apply_topics

    settings = load(config)
    if not settings.kafka.bootstrap_servers:
        raise ConfigError("kafka.bootstrap_servers", ["names no server; set it, for example to [127.0.0.1:9092]"])
    changes = [{"topic": each.topic, "change": each.change} for each in apply_topics(settings.kafka)]
    _print(changes, json_output, "all topics are there, with this retention")


@keys.command("create")
def keys_create(
    tenant: Annotated[str, typer.Option(help="Whose data it is that comes with this key.")],
    name: Annotated[str, typer.Option(help="Where the key is used, to tell it from others.")] = "",
    json_output: AsJson = False,
) -> None:
    """Make an API key: prints the key, this once, and the lines for the file that `receiver.api_keys_file` names."""
    from tidegauge.collectors.receiver.keys import create_key

    key, entry = create_key(tenant, name)
    if json_output:
        typer.echo(json.dumps({"key": key, "entry": entry.model_dump()}))
    else:
        typer.echo(f"key, shown only now: {key}\nfor the file of keys:\n- {json.dumps(entry.model_dump())}")


@app.command()
def reconcile(config: ConfigFile = None, json_output: AsJson = False) -> None:
    """Say what became of everything accepted through Kafka; exit 1 where something is not accounted for."""
    from tidegauge.collectors.reconcile import Reconciler
    from tidegauge.store import Store

    settings = load(config)
    store = Store(settings.dsn, settings.clickhouse.database)
    report = Reconciler(store, settings.reconcile, settings.kafka).report(datetime.now(UTC))
    typer.echo(json.dumps(report.as_json(), default=str) if json_output else report.as_text())
    raise typer.Exit(bool(report.gaps))


@dlq.command("list")
def dlq_list(
    topic: Topic = "",
    partition: PartitionNumber = None,
    reason: Reason = "",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 100,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """List dead letters: key (topic:partition:offset), time, kind, bytes, when it was sent again, reason."""
    from tidegauge.collectors.kafka.letters import Selection, select

    found = select(_with_kafka(config).kafka, Selection(topic, partition, reason=reason))[-limit:]
    _print([each.as_row() for each in found], json_output, "there are no such dead letters")


@dlq.command("show")
def dlq_show(
    key: Annotated[str, typer.Argument(help="As `dlq list` prints it: topic:partition:offset.")],
    config: ConfigFile = None,
) -> None:
    """Print one dead letter as JSON: reason, origin, headers and payload."""
    from tidegauge.collectors.kafka.letters import Selection, as_text, select

    found = select(_with_kafka(config).kafka, Selection.of(key))
    if not found:
        raise TidegaugeError(f"there is no dead letter {key}; `tidegauge dlq list` prints those that there are")
    for each in found:
        typer.echo(as_text(each.as_json()))


@dlq.command("redrive")
def dlq_redrive(
    key: Annotated[str, typer.Argument(help="topic:partition:offset; none: all that the options select.")] = "",
    topic: Topic = "",
    partition: PartitionNumber = None,
    reason: Reason = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Send dead letters to their topics again, after the cause is mended; each is stored once, however often."""
    from tidegauge.collectors.kafka.letters import Selection, select
    from tidegauge.collectors.kafka.redrive import redrive

    settings = _with_kafka(config)
    wanted = Selection.of(key, again=again) if key else Selection(topic, partition, reason=reason, again=again)
    done = redrive(settings.kafka, select(settings.kafka, wanted)[:limit])
    _print([asdict(each) for each in done], json_output, "there are no such dead letters left")


def _with_kafka(config: Path | None) -> Settings:
    settings = load(config)
    if not settings.kafka.bootstrap_servers:
        raise ConfigError("kafka.bootstrap_servers", ["names no server; set it, for example to [127.0.0.1:9092]"])
    return settings


@config.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Read the configuration and list every problem in it."""
    from tidegauge.collectors.masking import Masker

    Masker(load(config).masking)
    typer.echo("the configuration is fine")


@config.command("show")
def config_show(config: ConfigFile = None) -> None:
    """Print the configuration in force, secrets as ***."""
    typer.echo(load(config).model_dump_json(indent=2))


@config.command("reference")
def config_reference() -> None:
    """Print the reference page of all settings, in Markdown."""
    from tidegauge.config_reference import reference

    typer.echo(reference())


@rules.command("check")
def rules_check(
    files: Annotated[list[Path], typer.Argument(help="Rule files.")],
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Read rule files and list every problem in them, or the false pages a week that each rule must bring."""
    from tidegauge.alerting.expected import expectations, together
    from tidegauge.alerting.rules import check_rules
    from tidegauge.alerting.text import plain

    checked, settings = check_rules(files), load(config)
    found = expectations(checked, settings.detectors, settings.alerting.interval_s)
    if json_output:
        typer.echo(json.dumps({"rules": [each.as_json() for each in found], "together": together(found)}))
    else:
        lines = [plain(each.line(), 1000) for each in found]
        typer.echo("\n".join([f"{len(checked)} rules are fine", *lines, *together(found)]))


@rules.command("metrics")
def rules_metrics(
    files: Annotated[list[Path] | None, typer.Argument(help="Rule files with metrics of their own.")] = None,
    json_output: AsJson = False,
) -> None:
    """List what rules can watch: name, unit, what it is, and by what it can be divided."""
    from tidegauge.alerting.rules import metrics

    found = metrics(files or [])
    if json_output:
        told = [{"name": each.name, "title": each.title, "unit": each.unit, "kind": each.kind.value,
                 "dimensions": each.dimensions} for each in found]  # fmt: skip
        typer.echo(json.dumps(told))
    else:
        width = max(len(each.name) for each in found)
        lines = (f"{each.name:<{width}}  {each.title} ({each.unit}); by {_listed(each.dimensions)}" for each in found)
        typer.echo("\n".join(lines))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


@rules.command("test")
def rules_test(files: Annotated[list[Path], typer.Argument(help="Test files, see docs/rules.md.")]) -> None:
    """Run unit tests of rules: series in, expected states out."""
    from tidegauge.alerting.rule_tests import run_rule_tests

    results = [run_rule_tests(path) for path in files]
    failures = [str(failure) for _, failed in results for failure in failed]
    total = sum(expected for expected, _ in results)
    typer.echo("\n".join([*failures, f"{total - len(failures)} of {total} expectations are met"]))
    raise typer.Exit(bool(failures))


@rules.command("backtest")
def rules_backtest(
    files: Annotated[list[Path] | None, typer.Argument(help="Rule files [default: the configuration's]")] = None,
    days: Annotated[float, typer.Option(min=0.01, help="How far back from --until.")] = 30,
    until: Annotated[datetime | None, typer.Option(help="Last moment, in UTC [default: now]")] = None,
    step: Annotated[float, typer.Option(min=0.1, help="Minutes between two rounds.")] = 15,
    incidents: Annotated[Path | None, typer.Option(help="YAML file of what is known to have been wrong.")] = None,
    per_week: Annotated[
        float | None, typer.Option(min=0, help="Propose thresholds that fire at most so often a week.")
    ] = None,
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Replay rules over stored data: what they would have said, when, how often, and against known incidents."""
    from rich.console import Console

    from tidegauge.alerting.backtest import backtest
    from tidegauge.alerting.backtest_text import print_backtest
    from tidegauge.alerting.expected import expectations
    from tidegauge.alerting.incidents import read_incidents
    from tidegauge.alerting.replay import rounds
    from tidegauge.alerting.rules import check_rules
    from tidegauge.incidents import Incidents
    from tidegauge.model import Window
    from tidegauge.store import Store

    settings = load(config)
    checked = check_rules(files or settings.alerting.rules)
    known = read_incidents(incidents) if incidents else ()
    end = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    span = Window(end - timedelta(days=days), end)
    store = Store(settings.dsn, settings.clickhouse.database)
    left_out = (*known, *Incidents(settings.detectors.incidents, settings.detectors.incident_files).all())
    past = list(rounds(store, checked, span, timedelta(minutes=step), left_out))
    every_s = settings.alerting.interval_s
    priors = expectations(checked, settings.detectors, every_s)
    found = backtest(checked, past, span, known, per_week, priors, every_s)
    if json_output:
        typer.echo(json.dumps(found.as_json()))
    else:
        print_backtest(found, checked, Console())


@silences.command("list")
def silences_list(config: ConfigFile = None, json_output: AsJson = False) -> None:
    """List the silences that are in force or to come."""
    from tidegauge.alerting.silencing import silencing

    found = [each.as_json() for each in silencing(load(config)).listed()]
    shown = [" ".join(f"{name}={value}" for name, value in each["matchers"].items()) for each in found]
    rows = [each | {"matchers": text} for each, text in zip(found, shown, strict=True)]
    _print(found if json_output else rows, json_output, "no silence is in force")


@silences.command("add")
def silences_add(
    matchers: Annotated[list[str], typer.Argument(help="label=value of the alerts, such as service=shop alert=High*")],
    hours: Annotated[float, typer.Option(help="For how long from now.", min=0.01)],
    reason: Annotated[str, typer.Option(help="Why; whoever is on call next will ask.")],
    author: Annotated[str, typer.Option(envvar="USER", help="Who asks for it.")],
    config: ConfigFile = None,
    json_output: AsJson = False,
) -> None:
    """Silence alerts; one that fires meanwhile and still does at the end is told of then."""
    from tidegauge.alerting.silencing import silencing
    from tidegauge.silences import Silence, parse_matchers

    now = datetime.now(UTC)
    silence = Silence(parse_matchers(matchers), now, now + timedelta(hours=hours), author, reason)
    silencing(load(config)).add(silence)
    _print([silence.as_json() if json_output else {"silence_id": silence.silence_id}], json_output, "")


@silences.command("end")
def silences_end(silence_id: Annotated[str, typer.Argument()], config: ConfigFile = None) -> None:
    """End a silence now."""
    from tidegauge.alerting.silencing import silencing

    silencing(load(config)).end(silence_id)
    typer.echo(f"{silence_id} is over")


@dashboards.command("export")
def dashboards_export(
    directory: Annotated[Path, typer.Argument(help="Folder for the JSON files.")], config: ConfigFile = None
) -> None:
    """Write the Grafana dashboards and their provisioning."""
    from tidegauge.dashboards.grafana import export

    for path in export(directory, load(config)):
        typer.echo(path)


@dashboards.command("push")
def dashboards_push(config: ConfigFile = None) -> None:
    """Create or update the dashboards in a running Grafana."""
    from tidegauge.dashboards.grafana import push

    for uid, outcome in push(load(config).grafana).items():
        typer.echo(f"{uid}  {outcome}")


def _run(config: Path | None, *roles: str) -> None:
    from tidegauge.app import Role, Service
    from tidegauge.collectors.masking import mask_logs

    settings = load(config)
    mask_logs(settings.masking)
    keep_freed_blocks()
    with _terminated() as stop:
        service = Service(settings, frozenset(Role(each) for each in roles))
        try:
            _announce(service)
            leave_settled_objects_alone()
            stop.wait()
        finally:
            service.close()


def _announce(service: Service) -> None:
    lines = {
        "OTLP/HTTP": service.receiver_url,
        "OTLP/gRPC": service.grpc_url,
        "page": service.page_url,
        "sink": service.sink_url,
        "database": service.store.address if service.store else "",
    }
    for name, value in lines.items():
        if value:
            typer.echo(f"{name:<10} {value}")


@contextmanager
def _terminated() -> Iterator[threading.Event]:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    yield stop


def _print(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        typer.echo("\n".join("  ".join(str(value) for value in row.values()) for row in rows) or nothing)

"""One file, ``tidegauge.yaml``, plus environment variables; everything has a working default.

A variable names its setting by path: ``TIDEGAUGE_RECEIVER__HTTP_PORT=4318``, ``TIDEGAUGE_DATA_DIR=/data``. Environment
wins over the file. A secret has a twin that ends in ``_file`` and names a file to read it from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from tidegauge.errors import ConfigError
from tidegauge.model import BETWEEN

PREFIX = "TIDEGAUGE_"
QUOTED = re.compile(r"'.*'|\".*\"")
NEVER_SHOWN = {"extra_forbidden", "model_type", "missing"}  # a secret under a wrong name, or in place of a section
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Days = Annotated[int, Field(ge=0, le=36_500)]


class _Unusable:
    """Stands for a secret that could not be read from its file, so that every other problem is still found."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _twin(key: str) -> str:
    return key.removesuffix("_file") if key.endswith("_file") else ""


def _read_secret(path: Any) -> str | _Unusable:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        return _Unusable(f"names {path}, which cannot be read: {error.strerror}")
    except (TypeError, ValueError):
        return _Unusable("must name a file of text")


def _words(annotation: Any) -> tuple[Any, ...]:
    """What a setting may be, where that is one of some words."""
    inner = get_args(annotation)
    return inner if get_origin(annotation) is Literal else tuple(word for each in inner for word in _words(each))


class Section(BaseModel):
    """Base of every part of the configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, data: Any) -> Any:
        """``a, b`` for a list, as an environment variable has it."""
        if not isinstance(data, dict):
            return data
        lists = {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is tuple}
        return {
            key: [part.strip() for part in value.split(",") if part.strip()]
            if key in lists and isinstance(value, str)
            else value
            for key, value in data.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, data: Any) -> Any:
        """YAML reads a bare ``off`` as false."""
        if not isinstance(data, dict):
            return data
        words = {name for name, field in cls.model_fields.items() if "off" in _words(field.annotation)}
        return {key: "off" if key in words and value is False else value for key, value in data.items()}

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        twins = [str(key) for key in data if _twin(str(key)) in cls.model_fields and str(key) not in cls.model_fields]
        return {key: value for key, value in data.items() if key not in twins} | {
            _twin(key): _Unusable("and its twin without _file are both set; keep one")
            if _twin(key) in data
            else _read_secret(data[key])
            for key in twins
        }


class ClickHouse(Section):
    """Where everything is stored."""

    dsn: SecretStr = Field(
        SecretStr(""), description="clickhouse://user:password@host:8123; empty: embedded, in data_dir"
    )
    database: str = Field("tidegauge", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    cluster: str = Field(
        "", pattern=r"^[A-Za-z0-9_.-]*$", description="of the server: tables replicated and distributed; empty: none"
    )
    shard_by: Literal["request", "service"] = Field(
        "request", description="request spreads evenly over the shards; service keeps what one service sent on one"
    )


class Retention(Section):
    """How long tables keep rows, from when a row was stored: rows of years ago stay as long as those of today.

    After `_days` rows are deleted, after `_hot_days` they move to the cold volume or are compressed harder. 0: never.
    """

    spans_days: Days = Field(30, description="otel_traces, and so llm_calls")
    spans_hot_days: Days = 7
    logs_days: Days = Field(30, description="otel_logs")
    logs_hot_days: Days = 7
    metrics_days: Days = Field(30, description="otel_metrics_*")
    metrics_hot_days: Days = 7
    embeddings_days: Days = Field(90, description="embeddings, and text_sums")
    embeddings_hot_days: Days = 0
    predictions_days: Days = Field(400, description="predictions")
    predictions_hot_days: Days = 30
    truth_days: Days = Field(400, description="labels, feedback and outcomes")
    truth_hot_days: Days = 0
    scores_days: Days = Field(400, description="scores, judge_samples and review_queue")
    scores_hot_days: Days = 0
    rollups_days: Days = Field(800, description="sums by minute or hour, and feature_kinds")
    rollups_hot_days: Days = 0
    findings_days: Days = Field(
        800, description="findings, performance, sequential_state, alert_events and alert_deliveries"
    )
    findings_hot_days: Days = 0
    ledger_days: Days = Field(90, description="what the sink and the reconciliation did")
    ledger_hot_days: Days = 0
    storage_policy: str = Field(
        "", pattern=r"^[A-Za-z0-9_]*$", description="of the server, with a cold volume; empty: compress harder"
    )
    cold_volume: str = Field("cold", pattern=r"^[A-Za-z0-9_]+$")

    @model_validator(mode="after")
    def _hot_before_gone(self) -> Self:
        names = [field.removesuffix("_hot_days") for field in type(self).model_fields if field.endswith("_hot_days")]
        for name in names:
            days, hot_days = self.of(name)
            if days and hot_days >= days:
                raise ValueError(f"{name}_hot_days must be less than {name}_days, found {hot_days} and {days}")
        return self

    def of(self, name: str) -> tuple[int, int]:
        """Days and hot days of the tables that are set under ``name``."""
        return getattr(self, f"{name}_days"), getattr(self, f"{name}_hot_days")


class Rollups(Section):
    """Bounds of the sums by minute and hour against dimensions with countless values; raw tables keep them all."""

    max_values: int = Field(
        1000, ge=10, le=100_000, description="kept apart per dimension of a model or service; the rest is 'other'"
    )
    look_back_hours: float = Field(24, gt=0, description="values stored since then count")
    interval_s: Seconds = Field(60, description="between two counts")


class ApiKey(Section):
    """One key that may send to the receiver; `tidegauge keys create` makes it and prints this entry."""

    tenant: str = Field(min_length=1, max_length=200, description="whose data it is: all that comes with this key")
    name: str = Field("", max_length=200, description="where the key is used, so that it can be told from others")
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", description="of the key, which itself is kept nowhere")


class Receiver(Section):
    """The OTLP receiver. Beyond loopback it listens only with API keys or TLS."""

    host: str = Field("127.0.0.1", description="address to listen on")
    http_port: Port = Field(4318, description="OTLP/HTTP; 0 picks a free port")
    grpc_port: Port = Field(4317, description="OTLP/gRPC; 0 picks a free port")
    api_keys: tuple[ApiKey, ...] = Field((), description="keys that may send; with none here and no file, anybody may")
    api_keys_file: Path | None = Field(
        None, description="YAML list of more keys, each with tenant, name and hash; read again when it changes"
    )
    tls_cert_file: Path | None = Field(None, description="PEM certificate chain; TLS for HTTP and gRPC")
    tls_key_file: Path | None = Field(None, description="PEM private key of tls_cert_file")
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="largest request, compressed and decompressed alike")
    max_pending_bytes: int = Field(256 * 2**20, gt=0, description="being received or not yet durable; beyond it: 503")
    max_connections: int = Field(500, gt=0, description="open at a time, each for HTTP and gRPC; beyond it: 503")
    header_timeout_s: Seconds = Field(10, description="for a request's head, from its first byte")
    body_timeout_s: Seconds = Field(30, description="for a request's body, from the end of its head")
    idle_timeout_s: Seconds = Field(60, description="of a connection without a request")

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together; set both, or neither")
        return self


class MaskingRule(Section):
    """A rule of your own for what to find in texts."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="of the marker and of the metric's label: [name]")
    pattern: str = Field(min_length=1, description="regular expression in RE2's syntax; all that it matches is masked")
    keyword: str = Field("", description="a text that stands in each match, in any case: makes the search cheaper")
    validator: Literal["", "luhn", "iban", "aba", "entropy"] = Field(
        "", description="a further test of what the pattern found"
    )
    shape: Literal["text", "number"] = Field("text", description="number: not looked for in identifiers")


class Masking(Section):
    """Personal data and secrets are replaced before anything is stored."""

    enabled: bool = True
    disable: tuple[str, ...] = Field((), description="built-in rules not to use")
    enable: tuple[str, ...] = Field(
        (), description="built-in rules to use that are off by default: ipv4, ipv6, us_phone"
    )
    rules: tuple[MaskingRule, ...] = Field((), description="rules of your own")
    secret_keys: tuple[str, ...] = Field(
        (), description="attribute keys whose whole value is masked, such as user.full_name or app.*.pin"
    )
    exempt_keys: tuple[str, ...] = Field((), description="attribute keys whose values are not masked; * is any text")
    mode: Literal["mask", "hash"] = Field(
        "mask", description="hash: [email:3f2a9c417be0], the same for the same value, to count and join by"
    )
    hash_key: SecretStr = Field(SecretStr(""), description="for mode: hash, the same in every process")
    max_attribute_bytes: int = Field(
        256 * 2**10, ge=1024, description="longest attribute value or log body; the rest is cut off, with a marker"
    )

    @model_validator(mode="after")
    def _hash_needs_a_key(self) -> Self:
        if self.mode == "hash" and len(self.hash_key.get_secret_value()) < 16:
            raise ValueError("mode: hash needs a hash_key of at least 16 characters")
        return self


class Direct(Section):
    """Grouping of requests when they go straight into ClickHouse."""

    flush_after_s: Seconds = Field(0.1, description="longest wait of a request for others to share its insert")
    max_batch_bytes: int = Field(32 * 2**20, gt=0)


class Kafka(Section):
    """Kafka between receiver and sink; off while there are no bootstrap servers."""

    bootstrap_servers: tuple[str, ...] = Field((), description="host:port, ...; empty: no Kafka")
    group_id: str = "tidegauge-sink"
    partitions: int = Field(4, gt=0, description="of topics that Tidegauge creates")
    replication_factor: int = Field(1, gt=0)
    retention_hours: float = Field(72, gt=0, description="how long records stay in the topics; see create-topics")
    retention_bytes: int = Field(-1, ge=-1, description="of each partition; -1: no limit; see create-topics")
    dead_letter_retention_hours: float = Field(
        720, gt=0, description="of the dead-letter topic, so that somebody has time to look; see create-topics"
    )
    compression: Literal["none", "gzip", "lz4", "zstd"] = Field(
        "lz4", description="zstd takes a third of the space off lz4's, and more of the receiver's time"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_ca_file: Path | None = Field(None, description="PEM certificates to trust; none: the system's")
    ssl_cert_file: Path | None = Field(None, description="PEM certificate of this client, where brokers ask for one")
    ssl_key_file: Path | None = Field(None, description="PEM private key of ssl_cert_file")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    dead_letter_topic: str = "tidegauge_dead_letters"
    max_batch_records: int = Field(
        50_000, gt=0, description="spans or log records in one insert; each costs 0.1 s, whatever is in it"
    )
    max_batch_bytes: int = Field(64 * 2**20, gt=0)
    flush_after_s: Seconds = 1.0
    max_poison_share: float = Field(
        0.5, gt=0, le=1, description="above it in one batch the sink stops, diverts nothing"
    )
    max_buffered_bytes: int = Field(256 * 2**20, gt=0, description="of all partitions' batches of one sink together")
    duplicate_window_s: float = Field(600, ge=0, description="a request sent again within it is stored once")
    duplicate_memory: int = Field(50_000, ge=0, description="requests remembered for that, per partition")


class Sink(Section):
    """The sink's own address: `/healthz`, `/readyz` and `/metrics`."""

    host: str = "127.0.0.1"
    port: Port = Field(8601, description="0 picks a free port; each sink on one machine needs its own")


class Reconcile(Section):
    """The check that what was accepted is accounted for, run by the worker."""

    enabled: bool = True
    interval_s: Seconds = 60
    lookback_hours: float = Field(12, gt=0, description="a gap is looked for, and reported, for so long")
    grace_s: float = Field(30, ge=0, description="younger ledger rows are left for the next round")


class Reference(Section):
    """What the current window is compared with."""

    kind: Literal["training", "fixed", "trailing", "season", "previous_version"] = Field(
        "trailing",
        description="training: rows logged with role=training; fixed: start to end; trailing: the days before; season: "
        "the same hours of the same weekdays, weeks before; previous_version: what ran before the window's version",
    )
    name: str = Field(
        "", description="training: a set brought in by `tidegauge reference load`; empty: the newest of them, else all"
    )
    start: datetime | None = Field(None, description="fixed: first moment; in UTC unless it says otherwise")
    end: datetime | None = Field(None, description="fixed: first moment after")
    days: float = Field(28, gt=0, description="trailing and previous_version: how long")
    gap_days: float = Field(1, ge=0, description="trailing: the stretch before the window that is left out")
    weeks: int = Field(4, ge=1, le=52, description="season: how many weeks back")
    freeze_days: float = Field(
        28,
        ge=0,
        description="while an alert on its model is open, a reference stays where it was, at most so long; 0: it moves",
    )
    context: tuple[str, ...] = Field(
        (), description="slice dimensions; drift says whether their mix explains it or it is within them"
    )

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment

    @model_validator(mode="after")
    def _fixed_has_both_ends(self) -> Self:
        if self.kind == "fixed" and not (self.start and self.end and self.start < self.end):
            raise ValueError("kind: fixed needs start and end, with start before end")
        return self


class Incident(Section):
    """A stretch in which something was known to be wrong: no reference holds rows of it."""

    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")
    start: datetime = Field(description="first moment; in UTC unless it says otherwise")
    end: datetime = Field(description="first moment after")
    models: tuple[str, ...] = Field((), description="models that it touched; none: all of them")
    alerts: tuple[str, ...] = Field((), description="rules that should have told of it, for a backtest; none: any")

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, moment: datetime) -> datetime:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"must end after it starts, got {self.start} to {self.end}")
        return self

    def concerns(self, rule: str) -> bool:
        """Whether an alert of ``rule`` tells of it."""
        return not self.alerts or rule in self.alerts

    def touches(self, model: str) -> bool:
        """Whether ``model`` was part of it."""
        return not self.models or model in self.models

    def holds(self, moment: datetime) -> bool:
        """Whether it was going on at ``moment``."""
        return self.start <= moment < self.end


class Performance(Section):
    """How well a model does: measured from labels, and estimated while they are missing. See docs/performance.md."""

    enabled: bool = True
    task: Literal["auto", "binary", "multiclass", "regression", "ranking"] = Field(
        "auto", description="auto: told from predictions and labels"
    )
    metrics: tuple[str, ...] = Field((), description="such as roc_auc, accuracy, mae; none: all of the task")
    positive: str = Field("", description="of a binary model; empty: 1, true or yes, else the class of high scores")
    k: int = Field(10, gt=0, description="of rankings: how many of the first places count")
    estimate: bool = Field(True, description="while labels are missing")
    estimate_from_days: float = Field(92, gt=0, description="labelled predictions that estimates are learned from")
    baseline: Literal["auto", "windows", "same_weekday"] = Field(
        "auto", description="auto: windows shorter than a week are compared with those of the same weekday"
    )
    baseline_windows: int = Field(8, ge=1, le=100, description="how many earlier windows, those that were bad left out")
    floor: float = Field(0.02, ge=0, description="how much worse matters, of metrics between 0 and 1")
    relative_floor: float = Field(0.1, ge=0, description="the same as a share of the baseline: errors, log loss, Brier")


Test = Literal[
    "psi",
    "ks",
    "wasserstein",
    "anderson_darling",
    "mean_shift",
    "variance_shift",
    "quantile_shift",
    "chi_squared",
    "missing",
    "non_finite",
    "new_categories",
    "lost_categories",
    "risen_category",
    "out_of_range",
    "outliers",
    "wrong_type",
    "duplicates",
    "repeated_ids",
]
DEFAULT_TESTS: tuple[Test, ...] = (
    "psi",
    "ks",
    "wasserstein",
    "chi_squared",
    "missing",
    "non_finite",
    "new_categories",
    "lost_categories",
    "risen_category",
    "out_of_range",
    "wrong_type",
    "duplicates",
    "repeated_ids",
)
"""Those that find what no other does; the rest say more about a change that these find, and cost power."""


class Feature(Section):
    """What a feature is declared to be."""

    name: str
    kind: Literal["", "number", "text"] = Field("", description="empty: what most of the reference's values are")
    low: float | None = Field(None, allow_inf_nan=False, description="values below are out of range")
    high: float | None = Field(
        None,
        allow_inf_nan=False,
        description="and above; with neither the range is the reference's, half as wide again on each side",
    )

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.name}: low is {self.low:g}, which is above high, {self.high:g}")
        return self


class Watch(Section):
    """What to watch of one model (or of one LLM service), and against what."""

    name: str = Field("*", description="a model or service name; * is every one that is not listed")
    reference: Reference = Reference()
    window_hours: float = Field(24, gt=0, description="length of the current window")
    step_hours: float = Field(24, gt=0, description="a window ends every so many hours")
    slices: tuple[str, ...] = Field(
        (), description="dimensions to test apart, such as carrier; version is always there"
    )
    max_slices: int = Field(50, gt=0, description="values tested per dimension, the most frequent first")
    pairs: Literal["off", "all"] | tuple[tuple[str, str], ...] = Field(
        "all",
        description="of models: pairs of slice dimensions whose values are tested together, such as "
        "[[carrier, origin], [version, carrier]]; all: every two of slices and version",
    )
    max_pairs: int = Field(100, gt=0, description="pairs of values tested in all, those with the most rows first")
    rollups: Literal["auto", "always", "off"] = Field(
        "auto",
        description="compare counts in 256 cells a feature: auto, where there are more rows than detectors.max_rows; "
        "off: such by a sample. Of texts: sums of random features instead of vectors; auto: with steps below an hour",
    )
    false_discovery_rate: float = Field(0.05, gt=0, lt=1, description="expected share of false findings per evaluation")
    floor_from_reference: bool = Field(True, description="drift must exceed what the reference's own windows differ by")
    tests: tuple[Test, ...] = Field(
        DEFAULT_TESTS,
        description="asked of features; mean_shift is always asked of score and error, volume always of a model",
    )
    features: tuple[Feature, ...] = Field((), description="what is declared of features: kind and range")
    performance: Performance = Performance()
    diagnosis: bool = Field(True, description="of models: diagnosed once a day, see detectors.diagnosis")

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What drift is tested apart in: the slices, and the version, unless it is what is compared.

        >>> Watch(slices=("carrier",)).dimensions
        ('version', 'carrier')
        """
        version = () if self.reference.kind == "previous_version" else ("version",)
        return tuple(dict.fromkeys((*version, *self.slices)))

    @property
    def paired(self) -> tuple[tuple[str, str], ...]:
        """Which two dimensions are tested together.

        >>> Watch(slices=("carrier", "origin")).paired
        (('version', 'carrier'), ('version', 'origin'), ('carrier', 'origin'))
        """
        return tuple(combinations(self.dimensions, 2)) if self.pairs == "all" else self.listed_pairs

    @property
    def listed_pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs that are named one by one."""
        return () if isinstance(self.pairs, str) else self.pairs

    @property
    def on_whole_minutes(self) -> bool:
        """Whether all windows begin and end on one."""
        return not any(timedelta(hours=each) % timedelta(minutes=1) for each in (self.window_hours, self.step_hours))

    @model_validator(mode="after")
    def _features_are_declared_once(self) -> Self:
        names = [each.name for each in self.features]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"features: {', '.join(twice)} stands there more than once")
        return self

    @field_validator("pairs", mode="before")
    @classmethod
    def _pairs_are_lists_of_two(cls, pairs: Any) -> Any:
        if pairs in ("off", "all"):
            return pairs
        lists = isinstance(pairs, list | tuple) and all(
            isinstance(each, list | tuple) and len(each) == 2 and all(isinstance(name, str) for name in each)
            for each in pairs
        )
        if not lists:
            raise ValueError("must be off, all, or a list of pairs such as [[carrier, origin]]")
        return pairs

    @model_validator(mode="after")
    def _pairs_are_of_slices(self) -> Self:
        if joined := [each for each in self.slices if BETWEEN in each]:
            raise ValueError(f"slices: {', '.join(joined)}: a name may not hold {BETWEEN!r}, which stands within pairs")
        asked = self.listed_pairs
        for at, (one, other) in enumerate(asked):
            if unknown := [each for each in (one, other) if each not in self.dimensions]:
                why = "is what is compared" if unknown[0] == "version" else "slices does not list"
                raise ValueError(f"pairs: [{one}, {other}] names {unknown[0]}, which {why}")
            if one == other:
                raise ValueError(f"pairs: [{one}, {other}] is one dimension, not two")
            if {one, other} in [set(each) for each in asked[:at]]:
                raise ValueError(f"pairs: [{one}, {other}] stands there more than once")
        return self

    @model_validator(mode="after")
    def _context_is_read(self) -> Self:
        if unknown := set(self.reference.context) - {*self.slices, "version"}:
            raise ValueError(f"reference.context names {', '.join(sorted(unknown))}, which slices does not list")
        return self


LEAST_WEEKLY_TEXTS = 500


class DailyDiagnosis(Section):
    """A diagnosis of each model once a day; its sure causes are findings."""

    enabled: bool = True
    history_days: float = Field(42, ge=7, le=400, description="before a change, to learn what is usual")
    times_usual: float = Field(
        3,
        ge=2,
        le=32,
        description="from so many times the usual on a cause is told; less: sooner, and more often falsely",
    )
    days_in_a_row: int = Field(2, ge=1, le=7, description="on which it must be seen before it is told")
    models_per_run: int = Field(1, ge=1, description="diagnosed in one round of the detectors, after all else")


class Detectors(Section):
    """Drift detection."""

    enabled: bool = True
    interval_s: Seconds = Field(60, description="how often to look for windows that have closed")
    lag_s: float = Field(60, ge=0, description="wait after a window's end for late records")
    max_rows: int = Field(100_000, gt=999, description="rows read of a window or reference; beyond it a sample by hash")
    windows_per_run: int = Field(50, gt=0, description="windows evaluated per subject in one run, to catch up in steps")
    label_share: float = Field(0.9, gt=0, le=1, description="labels are compared once so many predictions have theirs")
    label_wait_days: float = Field(7, ge=0, description="or so long after the window, with the labels that have come")
    incidents: tuple[Incident, ...] = Field(
        (), description="stretches that no reference holds rows of, nor any season of a rule"
    )
    incident_files: tuple[Path, ...] = Field(
        (), description="YAML with more of them, as `tidegauge rules backtest` reads; read again when they change"
    )
    false_pages_per_month: float = Field(
        1, ge=0, description="wanted of each model from the tests that look at every hour; 0: none of them is run"
    )
    diagnosis: DailyDiagnosis = DailyDiagnosis()
    models: tuple[Watch, ...] = (Watch(),)
    services: tuple[Watch, ...] = Field(
        (Watch(),), description="LLM services whose input texts are embedded and compared"
    )
    embedder: Literal["auto", "sentence-transformers", "hashing", "off"] = Field(
        "auto",
        description="auto: sentence-transformers where the extra is installed, else hashing, which sees words and not "
        "their meaning; off: texts are not compared",
    )
    embedding_model: str = Field("", description="a sentence-transformers model; empty: all-MiniLM-L6-v2 as packaged")
    max_texts: int = Field(1000, gt=1, description="texts embedded per window, sampled by hash")
    weekly_texts: int = Field(
        1000, ge=0, le=2000, description="sampled of each week, and compared with the week before; 500 or more, 0: off"
    )
    permutations: int = Field(199, gt=18)

    @model_validator(mode="after")
    def _texts_have_a_stretch(self) -> Self:
        for each in self.services:
            if each.reference.kind == "previous_version":
                raise ValueError(f"services: the texts of {each.name} need another reference than previous_version")
            if "pairs" in each.model_fields_set or "max_pairs" in each.model_fields_set:
                raise ValueError(f"services: {each.name}: pairs are tested of models, not of a service's texts")
            if each.rollups == "always" and each.reference.kind == "training":
                raise ValueError(f"services: {each.name}: training rows are not summed, so rollups cannot be 'always'")
            if each.rollups == "always" and not each.on_whole_minutes:
                raise ValueError(f"services: {each.name}: rollups: always needs windows and steps of whole minutes")
        if 0 < self.weekly_texts < LEAST_WEEKLY_TEXTS:
            raise ValueError(f"weekly_texts must be 0 or at least {LEAST_WEEKLY_TEXTS}, got {self.weekly_texts}")
        return self


class Judges(Section):
    """LLM judges."""

    enabled: bool = Field(False, description="off until base_url points at a model")
    base_url: str = Field("", description="any OpenAI-compatible endpoint")
    allow_internal_addresses: bool = Field(False, description="let base_url be on loopback or a private network")
    api_key: SecretStr = SecretStr("")
    model: str = ""
    rubrics: tuple[str, ...] = Field(("faithfulness", "relevance"), description="built-in names or paths of YAML files")
    rate: float = Field(0.05, gt=0, le=1, description="share of LLM calls judged")
    strata: tuple[str, ...] = Field(("prompt_version",), description="columns of llm_calls that divide the sample")
    interval_s: Seconds = 60
    timeout_s: Seconds = 30
    max_usd_per_day: float = Field(5.0, ge=0)
    usd_per_1k_tokens: float = Field(0.0, ge=0)


FailureReason = Literal[
    "error",
    "refused",
    "blocked",
    "low_score",
    "negative_feedback",
    "disagreement",
    "empty_retrieval",
    "rephrased",
    "confident_error",
    "large_error",
    "drifted",
    "injection",
    "invalid_verdict",
]


class Golden(Section):
    """Failures proposed each week for the golden set; see docs/golden.md."""

    enabled: bool = True
    per_week: int = Field(12, ge=5, le=20, description="proposals at most, of each service and model")
    subjects: tuple[str, ...] = Field((), description="services and models, * is any text; none: all of them")
    reasons: tuple[FailureReason, ...] = Field(get_args(FailureReason), description="what counts as a failure")
    look_back_days: float = Field(14, gt=0, le=100, description="before a week's end: labels and feedback come late")
    lag_hours: float = Field(6, ge=0, description="wait after a week's end, Monday 0:00 UTC, for late records")
    score_below: float = Field(0.5, ge=0, le=1, description="judge scores below it count, and those labelled fail")
    csat_at_most: float = Field(2, ge=1, le=5)
    confident_from: float = Field(0.8, ge=0.5, le=1, description="score from which a wrong class is a confident one")
    large_error_times: float = Field(4, ge=1, description="times the usual error from which a wrong number counts")
    rephrased_within_s: Seconds = Field(600, description="the next question of a session, if it says nearly the same")
    content: bool = Field(True, description="keep input, output and context with a proposal, where they were captured")
    undecided_days: float = Field(56, ge=0, description="after which a proposal is rejected by itself; 0: never")
    interval_s: Seconds = Field(600, description="how often to look whether a week is over")


class SlackReceiver(Section):
    """A Slack incoming webhook."""

    kind: Literal["slack"] = "slack"
    name: str
    url: SecretStr


class SlackBotReceiver(Section):
    """A Slack app with a bot token: a thread for each group of alerts, and buttons."""

    kind: Literal["slack_bot"] = "slack_bot"
    name: str
    token: SecretStr = Field(min_length=1, description="xoxb-...; scopes: docs/notifiers.md")
    channel: str = Field(pattern=r"^[CDG][A-Z0-9]{2,}$", description="the channel's id, as its details show it")
    signing_secret: SecretStr = Field(SecretStr(""), description="of the app, for the buttons; none: no buttons")
    url: str = Field("https://slack.com/api/", description="of Slack's Web API")


class PagerDutyReceiver(Section):
    """PagerDuty Events API v2."""

    kind: Literal["pagerduty"] = "pagerduty"
    name: str
    routing_key: SecretStr
    url: str = "https://events.pagerduty.com/v2/enqueue"
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="of a v3 webhook subscription to /pagerduty/webhook, see docs/notifiers.md"
    )


class WebhookReceiver(Section):
    """Any HTTP endpoint; the body is JSON."""

    kind: Literal["webhook"] = "webhook"
    name: str
    url: SecretStr
    secret: SecretStr = Field(SecretStr(""), description="signs each request; see docs/rules.md")


class AlertmanagerReceiver(Section):
    """An Alertmanager, which then groups, silences and notifies."""

    kind: Literal["alertmanager"] = "alertmanager"
    name: str
    url: SecretStr = Field(description="such as http://alertmanager:9093/api/v2/alerts")
    token: SecretStr = Field(SecretStr(""), description="sent as a bearer token")


class EmailReceiver(Section):
    """People, by SMTP."""

    kind: Literal["email"] = "email"
    name: str
    host: str
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: SecretStr = SecretStr("")
    sender: str = Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")
    to: tuple[Annotated[str, Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")], ...] = Field(min_length=1)


AnyReceiver = Annotated[
    SlackReceiver | SlackBotReceiver | PagerDutyReceiver | AlertmanagerReceiver | EmailReceiver | WebhookReceiver,
    Field(discriminator="kind"),
]


class Hook(Section):
    """What is proposed, and called once a person has agreed, when an alert stays open: see docs/hooks.md."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")
    kind: Literal["retrain", "rollback", "custom"]
    match: dict[str, str] = Field(min_length=1, description="labels of the alert, as for silences: alert, model, ...")
    by: tuple[str, ...] = Field((), description="labels whose values have an interval of their own, such as model")
    url: SecretStr
    secret: SecretStr = Field(SecretStr(""), description="signs each request; see docs/hooks.md")
    approval: Literal["required", "none"] = "required"
    debounce_s: float = Field(0, ge=0, description="the alert must be open for so long")
    minimum_interval_s: float = Field(86_400, ge=0, description="between two proposals that are not rejected")
    expires_s: Seconds = Field(86_400, description="a proposal that nobody decided on ends then")
    tell: tuple[str, ...] = Field((), description="receivers that hear of it; none: those of the alert")


class AlertDiagnosis(Section):
    """Why a model or service changed, found out when an alert about it opens: see docs/notifiers.md."""

    enabled: bool = True
    timeout_s: Seconds = Field(60, description="one that takes longer is given up")
    most_per_hour: int = Field(12, gt=0, description="most urgent first; each takes 1 to 5 CPU seconds")
    again_after_s: Seconds = Field(21_600, description="of an alert that stays open; told where the cause is another")
    history_days: float = Field(42, ge=3, le=400, description="before the change, to compare with")


class Alerting(Section):
    """Rules and where their alerts go."""

    enabled: bool = True
    rules: tuple[Path, ...] = Field((), description="rule files; none: the built-in starter rules")
    routes: Path | None = Field(None, description="who is told of what, see docs/rules.md; none: by rule and severity")
    interval_s: Seconds = 30
    most_slices_told: int = Field(
        50, gt=0, description="alerts of one rule told one by one; one more stands for all others"
    )
    receivers: tuple[AnyReceiver, ...] = ()
    hooks: tuple[Hook, ...] = Field((), description="retraining, rollback and others, see docs/hooks.md")
    diagnosis: AlertDiagnosis = AlertDiagnosis()
    pictures: bool = Field(True, description="charts in e-mails and in Slack by its app, beside the line of text")
    allow_internal_addresses: bool = Field(False, description="let receivers be on loopback or private networks")
    timeout_s: Seconds = Field(10, description="for one delivery attempt, all of it")
    give_up_after_s: Seconds = Field(3600, description="retries of one notification end then")
    page_url: str = Field("", description="public address of the built-in page, for links in notifications")
    digest: tuple[str, ...] = Field(
        (), description="receivers of a message each Monday from 08:00 UTC: rules that are mostly wrong, and their mend"
    )
    heartbeat_url: SecretStr = Field(
        SecretStr(""), description="posted to while rules can be evaluated; let what is there page when it stops"
    )
    heartbeat_interval_s: Seconds = 60


class Page(Section):
    """The built-in page."""

    host: str = "127.0.0.1"
    port: Port = Field(8600, description="0 picks a free port")
    writes: Literal["loopback", "always", "never"] = Field(
        "loopback",
        description="whose silences and answers are taken; the page has no login, so always needs a proxy with one",
    )
    runbooks: Path | None = Field(
        None, description="folder of your runbooks, *.md, shown under /runbooks beside those of the starter rules"
    )


class Telemetry(Section):
    """Tidegauge's own metrics, sent the way of everybody's, for the pipeline's panels and rules."""

    enabled: bool = True
    interval_s: Seconds = Field(30, description="between two snapshots of what /metrics shows")


class Grafana(Section):
    """For ``tidegauge dashboards push``."""

    url: str = "http://127.0.0.1:3000"
    token: SecretStr = SecretStr("")
    datasource_uid: str = "tidegauge-clickhouse"


class Settings(Section):
    """Everything that can be set."""

    data_dir: Path = Field(Path("tidegauge-data"), description="embedded database and working files")
    clickhouse: ClickHouse = ClickHouse()
    retention: Retention = Retention()
    rollups: Rollups = Rollups()
    receiver: Receiver = Receiver()
    masking: Masking = Masking()
    direct: Direct = Direct()
    kafka: Kafka = Kafka()
    sink: Sink = Sink()
    reconcile: Reconcile = Reconcile()
    detectors: Detectors = Detectors()
    judges: Judges = Judges()
    golden: Golden = Golden()
    alerting: Alerting = Alerting()
    page: Page = Page()
    telemetry: Telemetry = Telemetry()
    grafana: Grafana = Grafana()

    @property
    def dsn(self) -> str:
        """The database's address, the embedded one in ``data_dir`` where none is given."""
        return self.clickhouse.dsn.get_secret_value() or f"chdb://{self.data_dir.absolute() / 'clickhouse'}"


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration from ``path`` (or ``tidegauge.yaml`` where there is one) and the environment.

    Raises:
        ConfigError: lists every problem with its path, the value found and what was expected.
    """
    source = path or (Path("tidegauge.yaml") if Path("tidegauge.yaml").exists() else None)
    data = _from_file(source) if source else {}
    _merge(data, _from_environment(environ if environ is not None else os.environ))
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise ConfigError(str(source or "environment"), [_problem(each) for each in error.errors()]) from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), ["is not UTF-8 text"]) from error
    except yaml.YAMLError as error:  # which quotes the line, and so perhaps a secret
        raise ConfigError(str(path), [_yaml_problem(error)]) from None
    if data is not None and not isinstance(data, dict):
        raise ConfigError(str(path), [f"must be a mapping of sections, found {type(data).__name__}"])
    return data or {}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in environ.items():
        keys = name.removeprefix(PREFIX).lower().split("__")
        if name.startswith(PREFIX) and (len(keys) > 1 or keys[0] in Settings.model_fields):
            _merge(found, _nest(keys, _value(name, text)))
    return found


def _value(name: str, text: str) -> Any:
    """A list or mapping where the text is one in YAML's brackets, else the text, which the setting's type reads."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(name, [_yaml_problem(error)]) from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = QUOTED.sub("...", getattr(error, "problem", None) or type(error).__name__)
    return f"{place}is not YAML: {problem}"


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    return {keys[0]: _nest(keys[1:], value) if len(keys) > 1 else value}


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        for twin in (f"{key}_file", _twin(str(key))):
            if twin not in other:
                into.pop(twin, None)
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _problem(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "(top)"
    if isinstance(error["input"], _Unusable):
        return f"{place}_file: {error['input'].reason}"
    secret = error["type"] in NEVER_SHOWN or not _secret_names().isdisjoint(map(str, error["loc"]))
    shown = isinstance(error["input"], str | int | float) and not secret
    return f"{place}: {error['msg']}" + (f", found {str(error['input'])[:80]!r}" if shown else "")


@cache
def _secret_names() -> frozenset[str]:
    """The names of all settings that hold a secret; their values are in no message."""
    fields = [(name, field) for section in _sections(Section) for name, field in section.model_fields.items()]
    return frozenset(name for name, field in fields if field.annotation is SecretStr)


def _sections(section: type[Section]) -> list[type[Section]]:
    return [section, *(each for child in section.__subclasses__() for each in _sections(child))]

"""Alert rules: what is watched, when it is too much, who is told and what they should do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator

from tidegauge.alerting.documents import Document
from tidegauge.alerting.durations import Duration
from tidegauge.alerting.forms import Compare, Season, Slo, Strict, Trend
from tidegauge.alerting.season import WEEK
from tidegauge.errors import ConfigError
from tidegauge.metrics import METRICS, Kind, Metric, OwnMetric, label_name

STARTER = Path(str(files("tidegauge.alerting") / "starter_rules.yaml"))
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Labels = Mapping[str, str]
File = TypeVar("File", bound=BaseModel)
_FORMS = ("above", "below", "compare", "slo", "trend", "absent_for")


class Severity(StrEnum):
    """Who is woken, where no routing file says otherwise.

    ``page`` goes to every receiver, ``triage`` to all but PagerDuty, ``info`` to webhooks and Alertmanager.
    """

    PAGE = "page"
    TRIAGE = "triage"
    INFO = "info"


class Rule(Strict):
    """One rule, evaluated for every combination of its ``by`` dimensions."""

    alert: Name
    metric: str
    by: tuple[str, ...] = ()
    where: Labels = Field(default_factory=dict, description="dimension: value, which the records must have")
    window: Duration = Field(timedelta(minutes=5), description="how far back each evaluation looks")
    delay: Duration = Field(timedelta(0), description="the window ends so long ago, to wait for late records")
    above: float | None = Field(None, allow_inf_nan=False)
    below: float | None = Field(None, allow_inf_nan=False)
    compare: Compare | None = None
    slo: Slo | None = None
    trend: Trend | None = None
    absent_for: Duration | None = Field(None, description="fires when a known series had no records for so long")
    seen_within: Duration = Field(timedelta(days=7), description="with absent_for: what makes a series known")
    season: Season | None = Field(
        None, description="with absent_for: fires only where that stretch had min_samples records in most weeks of it"
    )
    for_: Duration = Field(timedelta(0), alias="for", description="the condition must hold so long before it fires")
    keep_firing_for: Duration = Field(timedelta(0), description="it stays firing so long after the condition ended")
    stale_after: Duration = Field(timedelta(hours=1), description="without data so long, an open alert is closed")
    min_samples: int | None = Field(
        None, ge=1, description="with fewer the state is insufficient; none: 30 for rates, means and quantiles, else 1"
    )
    severity: Severity
    owner: Name
    runbook: Text
    action: Text
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict, description="summary, description or any text; shown as it is")
    receivers: tuple[str, ...] | None = Field(None, description="names of receivers; none: by severity")
    inhibited_by: tuple[str, ...] = Field(
        (), description="other alerts; while one is open with the same values of shared labels, nobody is told of this"
    )
    interval: Duration = Field(timedelta(0), description="set by the group")
    _own: Metric | None = PrivateAttr(None)

    def model_post_init(self, context: Any) -> None:
        """The metric may be one of the rule files' own; the context has those."""
        self._own = (context or {}).get(self.metric)

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, name: str, info: ValidationInfo) -> str:
        if name not in (known := _known(info)):
            raise ValueError(f"is no metric; there are {', '.join(sorted(known))}")
        return name

    @field_validator("by", "where")
    @classmethod
    def _dimensions_are_known(cls, value: Any, info: ValidationInfo) -> Any:
        metric = _known(info).get(info.data.get("metric", ""))
        unknown = [name for name in value if metric and not metric.knows(name)]
        if metric and unknown:
            raise ValueError(f"{', '.join(unknown)}: {metric.name} has {', '.join(metric.dimensions)}")
        if info.field_name == "by" and len({label_name(each) for each in value}) < len(value):
            raise ValueError("must not name the same label twice")
        return value

    @field_validator("window", "absent_for", "seen_within", "stale_after")
    @classmethod
    def _is_a_minute_or_more(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < timedelta(minutes=1):
            raise ValueError("must be 1m or more")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"needs one of {', '.join(_FORMS[:-1])} and {_FORMS[-1]}, found {found}")
        if self.slo and self.measure.unit != "share":
            raise ValueError(
                f"slo needs a metric that is a share of bad records; {self.metric} is in {self.measure.unit}"
            )
        if self.compare and self.compare.other and self.compare.other not in self.by:
            raise ValueError(f"compare.other: {self.compare.other} must be one of by: {', '.join(self.by) or 'none'}")
        if self.absent_for and self.absent_for >= self.seen_within:
            raise ValueError("absent_for must be shorter than seen_within")
        if self.season and (self.absent_for is None or self.absent_for > WEEK):
            raise ValueError("season goes with absent_for, which must then be 1w or less")
        if self.compare and self.compare.season and self.window > WEEK:
            raise ValueError("window: must be 1w or less, else the weeks of compare.season share records")
        if self.dimension_sources_clash():
            raise ValueError(f"{self.metric} cannot be divided by all of {', '.join([*self.by, *self.where])} at once")
        return self

    def dimension_sources_clash(self) -> bool:
        """Whether no single source of the metric knows every dimension that the rule names."""
        wanted = [*self.by, *self.where]
        return not any(all(source.knows(name) for name in wanted) for source in self.measure.sources)

    @property
    def needed(self) -> int:
        """How many samples a value must rest on."""
        return self.min_samples or (30 if self.measure.kind in (Kind.RATE, Kind.MEAN, Kind.QUANTILE) else 1)

    @property
    def weeks(self) -> int:
        """How many weeks before it looks at, each at the same hour of the same weekday."""
        season = self.compare.season if self.compare else self.season
        return season // WEEK if season else 0

    @property
    def upward(self) -> bool | None:
        """Whether it watches for too much (True) or too little (False); None for absence, burn rates and trends."""
        if self.compare:
            return self.compare.upward
        return None if self.absent_for or self.slo or self.trend else self.above is not None

    @property
    def limit(self) -> float | None:
        """The threshold of ``above`` or ``below``."""
        return self.above if self.above is not None else self.below

    def with_threshold(self, limit: float) -> Rule:
        """The same rule with another threshold: of ``above``, ``below`` or the ratio of ``compare``."""
        if self.compare:
            name = "above_ratio" if self.upward else "below_ratio"
            return self.model_copy(update={"compare": self.compare.model_copy(update={name: limit})})
        return self.model_copy(update={"above" if self.upward else "below": limit})

    @cached_property
    def measure(self) -> Metric:
        """The metric that the rule watches."""
        return self._own or METRICS[self.metric]


class Group(Strict):
    """Rules that are evaluated together every ``interval``."""

    name: Name
    interval: Duration = Field(timedelta(0), description="0s: in every round")
    rules: tuple[Rule, ...]

    @field_validator("rules", mode="before")
    @classmethod
    def _interval_is_the_groups(cls, value: Any) -> Any:
        found = [i for i, each in enumerate(value) if isinstance(each, dict) and "interval" in each] if value else []
        if found:
            raise ValueError(f"rule {found[0] + 1} has an interval; only a group has one")
        return value


class RuleFile(Strict):
    """The whole file, but for ``metrics``."""

    groups: tuple[Group, ...]


class MetricFile(BaseModel):
    """What a rule file says of metrics of its own, which the rules of every file may use."""

    metrics: tuple[OwnMetric, ...] = ()


def check_rules(paths: Sequence[Path]) -> list[Rule]:
    """All rules of ``paths``, or of the starter file when there are none; names are unique over all files.

    Raises:
        ConfigError: lists every problem of every file with file and line.
    """
    rules: list[Rule] = []
    places: dict[str, str] = {}
    documents, own, wrong = _read(paths or [STARTER])
    for document in documents:
        found = _parse(RuleFile, document, _rest(document.data), wrong[document.path], own)
        for i, group in enumerate(found.groups if found else ()):
            for k, rule in enumerate(group.rules):
                place = f"{document.path}:{document.line(('groups', i, 'rules', k, 'alert'))}"
                if rule.alert in places:
                    wrong[document.path].append(f"{place}: the name {rule.alert!r} is taken, at {places[rule.alert]}")
                places.setdefault(rule.alert, place)
                rules.append(rule.model_copy(update={"interval": group.interval}))
    problems = _listed(wrong)
    by_name = {rule.alert: rule for rule in rules}
    problems += [
        f"{places[rule.alert]}: inhibited_by: {problem}"
        for rule in rules
        for name in rule.inhibited_by
        if (problem := _no_inhibitor(rule, name, by_name.get(name)))
    ]
    if problems:
        raise ConfigError("alert rules", problems)
    return rules


def _no_inhibitor(rule: Rule, name: str, other: Rule | None) -> str:
    """Why ``other`` cannot inhibit ``rule``; empty where it can."""
    if other is None or other is rule:
        return f"there is no other rule {name!r}"
    if rule.by and other.by and not set(rule.by) & set(other.by):
        its, own = ", ".join(other.by), ", ".join(rule.by)
        return f"{name!r} is by {its} and this one by {own}: without a label of both one of it would hide all of these"
    return ""


def metrics(paths: Sequence[Path]) -> list[Metric]:
    """Every metric that rules can name, by name, with those of the rule files ``paths``. Raises ConfigError."""
    _, own, wrong = _read(paths)
    if problems := _listed(wrong):
        raise ConfigError("alert rules", problems)
    return [each for _, each in sorted({**METRICS, **own}.items())]


def _known(info: ValidationInfo) -> Mapping[str, Metric]:
    return {**METRICS, **(info.context or {})}


def _read(paths: Sequence[Path]) -> tuple[list[Document], dict[str, Metric], dict[Path, list[str]]]:
    """The files that can be read, the metrics they bring along, and what is wrong by file."""
    wrong: dict[Path, list[str]] = {path: [] for path in paths}
    documents = [each for path in wrong if (each := Document.read(path, wrong[path]))]
    return documents, _own_metrics(documents, wrong), wrong


def _listed(wrong: Mapping[Path, Sequence[str]]) -> list[str]:
    return [each for found in wrong.values() for each in found]


def _own_metrics(documents: Sequence[Document], wrong: Mapping[Path, list[str]]) -> dict[str, Metric]:
    own: dict[str, Metric] = {}
    for document in documents:
        problems = wrong[document.path]
        found = _parse(MetricFile, document, document.data, problems) if isinstance(document.data, dict) else None
        for i, each in enumerate(found.metrics if found else ()):
            if each.name in own:
                line = document.line(("metrics", i, "name"))
                problems.append(f"{document.path}:{line}: there is another metric {each.name!r}")
            own[each.name] = each.metric()
    return own


def _rest(data: Any) -> Any:
    return {name: value for name, value in data.items() if name != "metrics"} if isinstance(data, dict) else data


def _parse(
    kind: type[File], document: Document, data: Any, problems: list[str], context: Mapping[str, Metric] | None = None
) -> File | None:
    try:
        return kind.model_validate(data, context=context)
    except ValidationError as error:
        for each in error.errors():
            problems.append(f"{document.path}:{document.line(each['loc'])}: {_message(each)}")
        return None


def _message(error: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"]) or "file"
    shown = error["type"] not in ("missing", "extra_forbidden") and not isinstance(error["input"], dict | list)
    found = f", found {str(error['input'])[:80]!r}" if shown else ""
    return f"{place}: {error['msg'].removeprefix('Value error, ')}{found}"

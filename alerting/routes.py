"""The routing tree: who is told of an alert, together with which others, how soon, how often, and who is next.

.. code-block:: yaml

    route:
      receiver: chat                     # a name or a list of names
      group_by: [alert, service]
      repeat_interval: 4h
      routes:
        - match: {severity: page}        # label: value or list of values; * and ? as in silences
          receiver: on-call
          escalate: [{after: 15m, receiver: lead}]
          continue: true                 # look at the next ones as well
        - match: {severity: triage}
          group_wait: 1m
          quiet: [nights]
    quiet_hours:
      nights: {time_zone: Europe/Berlin, days: [mon, tue], from: "20:00", to: "08:00"}

As in Alertmanager the deepest routes that match tell, and inherit what they do not set; ``quiet`` and ``escalate``
are a route's own. Labels are the rule's and the alert's, and ``alert``, ``severity`` and ``owner``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from tidegauge.alerting.documents import Document
from tidegauge.alerting.durations import Duration
from tidegauge.alerting.forms import Strict
from tidegauge.alerting.quiet import QuietHours, quiet_until
from tidegauge.alerting.rules import Name
from tidegauge.errors import ConfigError

_ZERO = timedelta(0)
_INHERITED = ("receiver", "group_by", "group_wait", "group_interval", "repeat_interval")


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[Name, ...], BeforeValidator(_several)]
Values = Annotated[tuple[str, ...], BeforeValidator(_several)]


class Escalation(Strict):
    """Who else is told when nobody has acknowledged for so long."""

    after: Duration
    receiver: Names = Field(min_length=1)


class Route(Strict):
    """One node of the tree; what is not set is the parent's."""

    match: Mapping[str, Values] = Field(default_factory=dict)
    receiver: Names | None = None
    continue_: bool = Field(False, alias="continue", description="look at the routes after it as well")
    group_by: tuple[str, ...] | None = Field(None, description="alerts alike in these labels make one message")
    group_wait: Duration | None = Field(None, description="the first message waits so long for others [0s]")
    group_interval: Duration | None = Field(None, description="shortest time between two messages of a group [0s]")
    repeat_interval: Duration | None = Field(None, description="reminders while nobody acknowledges; 0s: none [0s]")
    quiet: tuple[str, ...] = Field((), description="names of quiet_hours in which nobody is told; told after them")
    escalate: tuple[Escalation, ...] = ()
    routes: tuple[Route, ...] = ()


class RouteFile(Strict):
    """The whole file."""

    route: Route
    quiet_hours: Mapping[str, QuietHours | tuple[QuietHours, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.route.receiver:
            raise ValueError("route: the top one needs a receiver: it is told of what no other route matches")
        if self.route.match or self.route.continue_:
            raise ValueError("route: the top one matches everything and has neither match nor continue")
        unknown = {name for each in _walk(self.route) for name in each.quiet} - set(self.quiet_hours)
        if unknown:
            raise ValueError(f"quiet: there are no quiet_hours {', '.join(sorted(unknown))}")
        return self


@dataclass(frozen=True, slots=True)
class Leaf:
    """A route with what it inherits: how its receivers are told."""

    receivers: tuple[str, ...]
    group_by: tuple[str, ...] | None = None
    group_wait: timedelta = _ZERO
    group_interval: timedelta = _ZERO
    repeat_interval: timedelta = _ZERO
    quiet: tuple[QuietHours, ...] = ()
    quiet_names: tuple[str, ...] = ()
    escalate: tuple[Escalation, ...] = ()

    def group(self, labels: Mapping[str, str]) -> str:
        """What alerts of one message have in common; empty where everything that waits may go together."""
        if self.group_by is None:
            return ""
        names = sorted(labels) if "..." in self.group_by else self.group_by
        return repr([(name, labels.get(name, "")) for name in names])

    def quiet_until(self, moment: datetime) -> datetime | None:
        """When the quiet that ``moment`` lies in ends; None where it is not quiet."""
        return quiet_until(self.quiet, moment)

    def quiet_words(self, moment: datetime) -> str:
        """The quiet that ``moment`` lies in, by its names and end; empty where it is not quiet."""
        until = self.quiet_until(moment)
        return f"quiet hours {', '.join(self.quiet_names)} until {until:%Y-%m-%d %H:%M} UTC" if until else ""


class Tree:
    """Finds the leaves of an alert."""

    def __init__(self, file: RouteFile) -> None:
        self._hours = {name: each if isinstance(each, tuple) else (each,) for name, each in file.quiet_hours.items()}
        self._root = file.route

    def leaves(self, labels: Mapping[str, str]) -> list[Leaf]:
        """At least one: the top route matches everything."""
        return list(self._found(self._root, labels, {}))

    def receivers(self) -> set[str]:
        """Every name that a route or an escalation has."""
        named = {name for each in _walk(self._root) for name in each.receiver or ()}
        return named | {name for each in _walk(self._root) for step in each.escalate for name in step.receiver}

    def _found(self, route: Route, labels: Mapping[str, str], above: Mapping[str, Any]) -> Iterator[Leaf]:
        own = {name: value for name in _INHERITED if (value := getattr(route, name)) is not None}
        values = {**above, **own}
        matched = False
        for child in route.routes:
            if _matches(child, labels):
                matched = True
                yield from self._found(child, labels, values)
                if not child.continue_:
                    break
        if not matched:
            quiet = tuple(each for name in route.quiet for each in self._hours[name])
            receivers = values.pop("receiver")
            yield Leaf(receivers, **values, quiet=quiet, quiet_names=route.quiet, escalate=route.escalate)


def read_routes(path: Path, receivers: Collection[str]) -> Tree:
    """The tree of a file.

    Raises:
        ConfigError: lists every problem with its line; a receiver that is not among ``receivers`` is one.
    """
    problems: list[str] = []
    document = Document.read(path, problems)
    if document is None:
        raise ConfigError("alert routes", problems)
    try:
        tree = Tree(RouteFile.model_validate(document.data))
    except ValidationError as error:
        raise ConfigError("alert routes", [_problem(document, each) for each in error.errors()]) from None
    unknown = sorted(tree.receivers() - set(receivers))
    if unknown:
        hint = f"there are {', '.join(receivers) or 'none'}"
        raise ConfigError("alert routes", [f"{path}: there is no receiver {each!r}; {hint}" for each in unknown])
    return tree


def _problem(document: Document, error: Any) -> str:
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error["loc"]) or "file"
    return f"{document.path}:{document.line(error['loc'])}: {place}: {error['msg'].removeprefix('Value error, ')}"


def _walk(route: Route) -> Iterator[Route]:
    yield route
    for each in route.routes:
        yield from _walk(each)


def _matches(route: Route, labels: Mapping[str, str]) -> bool:
    return all(_fits(labels.get(name, ""), values) for name, values in route.match.items())


def _fits(value: str, wanted: Sequence[str]) -> bool:
    return any(fnmatchcase(value, each) for each in wanted)

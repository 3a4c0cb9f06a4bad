"""The forms that a rule's condition can have beside a plain threshold: a comparison, a burn rate, a trend."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tidegauge.alerting.durations import Duration, format_duration
from tidegauge.alerting.season import LEAST_WEEKS, WEEK

SHORT = 12
"""The short window of a burn is this much shorter than the long one."""
MOST_WEEKS = 12
_USUAL = ((0.02, timedelta(hours=1)), (0.05, timedelta(hours=6)), (0.1, timedelta(days=1)), (0.1, timedelta(days=3)))


def _whole_weeks(length: timedelta) -> timedelta:
    if length % WEEK or not WEEK <= length <= MOST_WEEKS * WEEK:
        raise ValueError(f"must be whole weeks, 1w to {MOST_WEEKS}w")
    return length


Season = Annotated[Duration, AfterValidator(_whole_weeks)]
"""As many weeks before, each at the same hour of the same weekday."""


class Strict(BaseModel):
    """Base of everything in a rule file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Ratio(Strict):
    """Too much or too little of what was before: a ratio of 1.2 is 20 % more."""

    above_ratio: float | None = Field(None, gt=0, allow_inf_nan=False)
    below_ratio: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_ratio(self) -> Self:
        if (self.above_ratio is None) == (self.below_ratio is None):
            raise ValueError("needs above_ratio or below_ratio, one of them")
        return self

    @property
    def upward(self) -> bool:
        """Whether it watches for too much."""
        return self.above_ratio is not None

    @property
    def limit(self) -> float:
        """The ratio."""
        return self.above_ratio or self.below_ratio or 0.0


class Compare(Ratio):
    """Compare with the same window ``offset`` earlier, or with those of each week of ``season`` together.

    With ``offset`` and ``other`` a version is compared with another one that ran then, the one with the most samples;
    where there was none, with itself. ``other`` is one of the rule's ``by``.
    """

    offset: Duration | None = None
    season: Season | None = None
    other: str | None = Field(None, description="a dimension of by, such as prompt_version")

    @model_validator(mode="after")
    def _has_one_past(self) -> Self:
        if (self.offset is None) == (self.season is None):
            raise ValueError("needs offset or season, one of them")
        if self.offset == timedelta(0):
            raise ValueError("needs an offset longer than 0s")
        if self.season and self.season < LEAST_WEEKS * WEEK:
            raise ValueError(f"season: needs {LEAST_WEEKS}w or more, else the weeks' own spread is not known")
        if self.season and self.other:
            raise ValueError("other goes with offset: a version that ran for weeks is compared with itself")
        return self


class Burn(Strict):
    """A share of the error budget spent within ``long``, and still being spent in the last twelfth of it."""

    budget: float = Field(gt=0, le=1)
    long: Duration

    def factor(self, period: timedelta) -> float:
        """How many times faster than the budget allows: ``budget * period / long``."""
        return self.budget * (period / self.long)

    @property
    def short(self) -> timedelta:
        """A twelfth of ``long``, in whole minutes, one at least."""
        return timedelta(minutes=max(1, round(self.long / timedelta(minutes=SHORT))))


class Slo(Strict):
    """At least ``objective`` of the records are good over ``period``; the metric is the share of bad ones.

    It fires when any burn is faster than its factor in both its windows (Beyer et al., The Site Reliability Workbook,
    chapter 5). A share of bad records is at most 1, so a factor of ``1 / (1 - objective)`` or more never fires: given
    ones are refused, and of the usual ones (2 % in 1h, 5 % in 6h, 10 % in 1d, 10 % in 3d) those are replaced by half of
    all records bad.

    >>> [round(limit, 3) for _, limit in Slo(objective=0.9).limits()]
    [0.5, 0.6, 0.3, 0.1]
    """

    objective: float = Field(gt=0, lt=1)
    period: Duration = timedelta(days=30)
    burns: tuple[Burn, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        for each in self.burns or ():
            if each.long > self.period or each.long < timedelta(minutes=SHORT):
                raise ValueError(f"burns: long must lie between 12m and the period, got {format_duration(each.long)}")
            factor, most = each.factor(self.period), 1 / (1 - self.objective)
            if factor >= most:
                budget = most * (each.long / self.period)
                raise ValueError(
                    f"burns: {each.budget:g} of the budget in {format_duration(each.long)} is {factor:.3g} times the "
                    f"allowed pace, and at an objective of {self.objective:g} it is never more than {most:.3g}: with "
                    f"this window ask for less than {budget:.2g}, or take a longer window"
                )
        return self

    def limits(self) -> list[tuple[Burn, float]]:
        """Each burn and the share of bad records that it stands for."""
        bad = 1 - self.objective
        usual = [Burn(budget=budget, long=long) for budget, long in _USUAL if long <= self.period]
        found = [(each, each.factor(self.period) * bad) for each in self.burns or usual]
        return [(each, limit if limit < 1 else 0.5) for each, limit in found]

    def windows(self) -> list[timedelta]:
        """Long and short window of each burn, in turn."""
        return [length for burn, _ in self.limits() for length in (burn.long, burn.short)]


class Trend(Ratio):
    """A straight line through ``steps`` windows of length ``step``, ended by now, and the ratio of its two ends."""

    step: Duration = timedelta(days=1)
    steps: int = Field(14, ge=4, le=100)

    @model_validator(mode="after")
    def _has_a_step(self) -> Self:
        if self.step < timedelta(minutes=1):
            raise ValueError("needs a step of 1m or more")
        return self

"""Quiet hours: stretches of the week, in a time zone, in which a route tells nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from tidegauge.alerting.forms import Strict

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST = timedelta(days=8)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone, such as Europe/Berlin or UTC") from None
    return name


def _time(text: Any) -> time:
    try:
        hours, minutes = str(text).split(":")
        return time(int(hours), int(minutes))
    except ValueError:
        raise ValueError('must be a time of day in quotes, such as "22:00"') from None


TimeOfDay = Annotated[time, BeforeValidator(_time)]


class QuietHours(Strict):
    """From ``from`` to ``to`` on each of ``days``, by the clocks of ``time_zone``.

    Where ``to`` is earlier it lasts over midnight, with both the same a whole day. The day is the one it begins on.
    """

    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    days: tuple[Day, ...] = Field(DAYS, min_length=1)
    from_: TimeOfDay = Field(time(0), alias="from")
    to: TimeOfDay = time(0)

    def until(self, moment: datetime) -> datetime | None:
        """When the stretch that ``moment`` lies in ends; None where it lies in none."""
        local = moment.astimezone(ZoneInfo(self.time_zone))
        for back in (1, 0):
            day = local.date() - timedelta(days=back)
            begin = datetime.combine(day, self.from_, local.tzinfo)
            end = datetime.combine(day + timedelta(days=self.to <= self.from_), self.to, local.tzinfo)
            if DAYS[day.weekday()] in self.days and begin.timestamp() <= moment.timestamp() < end.timestamp():
                return end.astimezone(moment.tzinfo)
        return None


def quiet_until(hours: Sequence[QuietHours], moment: datetime) -> datetime | None:
    """The end of the quiet that ``moment`` lies in, over stretches that follow each other; None where it is not quiet.

    At most eight days: quiet that never ends is no quiet hours.
    """
    end = moment
    while end - moment < _LONGEST:
        later = max((found for each in hours if (found := each.until(end))), default=None)
        if later is None:
            return end if end > moment else None
        end = later
    return end

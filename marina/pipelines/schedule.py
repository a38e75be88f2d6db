"""When a recurring run is due, by the clocks of a place: once a day or a week there, daylight saving or not.

A time that the spring's change leaves out is due when it would have been, an hour later by the clock; one that the
autumn's has twice is due the first time.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from dataclasses import dataclass

from archives.errors import MarinaError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class ScheduleError(MarinaError, ValueError):
    """A text is no schedule, or names no place; the message shows one that is."""


@dataclass(frozen=True)
class Schedule:
    """A time of each day, or of one day a week.

    Attributes
    ----------
    name
        How its runs' keys begin.
    weekday
        0 is Monday; None for every day.
    """

    name: str
    weekday: int | None
    hour: int
    minute: int
    zone: zoneinfo.ZoneInfo

    @property
    def cron(self) -> str:
        """The same, as cron writes it."""
        return f"{self.minute} {self.hour} * * {'*' if self.weekday is None else (self.weekday + 1) % 7}"

    def last_due(self, now: float) -> tuple[str, float]:
        """Return the newest run that is due: its key, with its local date, and since when, in seconds since 1970."""
        date = datetime.datetime.fromtimestamp(now, self.zone).date()
        for back in range(9):
            day = date - datetime.timedelta(days=back)
            if self.weekday in (None, day.weekday()):
                time = datetime.time(self.hour, self.minute, tzinfo=self.zone)
                due = datetime.datetime.combine(day, time).timestamp()
                if due <= now:
                    return f"{self.name} {day.isoformat()}", due
        raise AssertionError("a week has seven days")


def parse(name: str, text: str, zone: str) -> Schedule:
    """Read ``Mon 02:00`` or ``01:00``, and a place such as ``Europe/Paris``.

    Raises
    ------
    ScheduleError
        When it is none.
    """
    found = re.fullmatch(r"(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01]\d|2[0-3]):([0-5]\d)", text)
    if found is None:
        raise ScheduleError(f"{text!r} is no schedule: write a time, 01:00, or a weekday and a time, Mon 02:00")
    try:
        place = zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(f"{zone!r} is no time zone; expected a name such as Europe/Paris") from error
    weekday = DAYS.index(found[1]) if found[1] else None
    return Schedule(name, weekday, int(found[2]), int(found[3]), place)

import datetime
import itertools
import zoneinfo

import pytest

from marina.pipelines.schedule import ScheduleError, parse

PARIS = "Europe/Paris"


def at(text: str) -> float:
    """Return seconds since 1970 of a time in UTC."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def local(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, zoneinfo.ZoneInfo(PARIS)).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("now", "key", "due"),
    [
        ("2026-11-23 00:59", "weekly 2026-11-16", "2026-11-16T02:00+01:00"),
        ("2026-11-23 01:00", "weekly 2026-11-23", "2026-11-23T02:00+01:00"),
        ("2026-07-06 00:00", "weekly 2026-07-06", "2026-07-06T02:00+02:00"),
        ("2026-07-05 23:59", "weekly 2026-06-29", "2026-06-29T02:00+02:00"),
        ("2026-10-26 00:30", "weekly 2026-10-19", "2026-10-19T02:00+02:00"),  # the clocks went back on Sunday
        ("2026-10-26 01:00", "weekly 2026-10-26", "2026-10-26T02:00+01:00"),
    ],
)
def test_a_week_begins_on_monday_at_two_by_the_clocks_of_paris(now: str, key: str, due: str) -> None:
    found = parse("weekly", "Mon 02:00", PARIS).last_due(at(now))
    assert (found[0], local(found[1])) == (key, due)


def test_each_date_of_a_year_is_due_once_even_at_a_time_that_is_left_out_or_comes_twice() -> None:
    schedule, first = parse("daily", "02:30", PARIS), at("2026-01-01 00:00")
    seen = [schedule.last_due(first + 600 * k) for k in range(365 * 144)]
    assert len({key for key, _ in seen}) == 366  # with the day before
    assert len(set(seen)) == 366, "a date was due at two times"
    due = sorted({due for _, due in seen})
    assert sorted({round((after - before) / 3600, 1) for before, after in itertools.pairwise(due)}) == [
        23.0,
        24.0,
        25.0,
    ]


@pytest.mark.parametrize(("text", "zone"), [("Monday 2", PARIS), ("25:00", PARIS), ("Mon 02:00", "Paris/France")])
def test_what_is_no_schedule_is_refused_with_an_example(text: str, zone: str) -> None:
    with pytest.raises(ScheduleError, match=r"Mon 02:00|Europe/Paris"):
        parse("weekly", text, zone)

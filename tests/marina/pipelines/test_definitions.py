"""What Dagster is told: jobs, partitions, and schedules over the changes of the clocks."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator

import pytest

pytest.importorskip("dagster", reason="pip install --require-hashes -c constraints.txt --group orchestrator")

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context
from pydantic import SecretStr

from marina.database.connection import Database
from marina.monitoring import alerts, requested_trainings
from marina.pipelines.definitions import definitions
from marina.settings import Settings

PARIS = zoneinfo.ZoneInfo("Europe/Paris")


def ticks(schedule: dg.ScheduleDefinition, start: datetime.datetime, days: int) -> Iterator[datetime.datetime]:
    """Yield when a schedule is due, as the daemon's own iterator says."""
    from dagster._utils.schedules import schedule_execution_time_iterator

    ends = (start + datetime.timedelta(days=days)).timestamp()
    times = schedule_execution_time_iterator(
        start.timestamp(), schedule.cron_schedule, schedule.execution_timezone, ascending=True
    )
    for time in times:
        if time.timestamp() >= ends:
            return
        yield time


def asked(made: dg.RepositoryDefinition, name: str, time: datetime.datetime) -> dg.RunRequest:
    with dg.build_schedule_context(scheduled_execution_time=time, repository_def=made) as context:
        requests = made.get_schedule_def(name).evaluate_tick(context).run_requests
    assert requests is not None
    (request,) = requests
    return request


@pytest.mark.parametrize(
    ("text", "day", "days"),
    [
        ("01:00", (2026, 10, 23), 4), ("02:30", (2026, 10, 23), 4), ("01:00", (2027, 3, 26), 4),
        ("02:30", (2027, 3, 26), 4),
    ],
)  # fmt: skip
def test_each_day_is_due_once_whatever_the_clocks_do(text: str, day: tuple[int, int, int], days: int) -> None:
    made = definitions(Settings(ml_daily_schedule=text, ml_families=["catalog"])).get_repository_def()
    start = datetime.datetime(*day, tzinfo=PARIS)
    times = list(ticks(made.get_schedule_def("daily_catalog"), start, days))
    requests = [asked(made, "daily_catalog", time) for time in times]
    dates = [(start.date() + datetime.timedelta(days=n)).isoformat() for n in range(days)]
    assert [request.partition_key for request in requests] == dates
    assert [request.run_key for request in requests] == [f"daily {date}" for date in dates]
    partitions = made.get_job("daily_catalog").partitions_def
    assert partitions is not None
    for time, date in zip(times, dates, strict=True):  # it is there by the time of its run
        with partition_loading_context(time):
            assert partitions.has_partition_key(date)


def test_a_week_is_due_on_mondays_at_two_by_the_clocks_of_paris() -> None:
    made = definitions(Settings()).get_repository_def()
    schedule = made.get_schedule_def("weekly_catalog")
    found = list(ticks(schedule, datetime.datetime(2026, 10, 19, tzinfo=PARIS), 28))
    assert [time.astimezone(PARIS).strftime("%a %d %H:%M") for time in found] == [
        "Mon 19 02:00", "Mon 26 02:00", "Mon 02 02:00", "Mon 09 02:00",
    ]  # fmt: skip
    hours = [time.astimezone(datetime.UTC).hour for time in found]
    assert hours == [0, 1, 1, 1], "summer, and after the change on the 25th winter"
    assert asked(made, "weekly_catalog", found[1]).run_key == "weekly 2026-10-26"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_every_family_has_a_week_and_a_day_and_what_follows_waits() -> None:
    made = definitions(Settings(backup_destination="/backups")).get_repository_def()
    names = {job.name for job in made.get_all_jobs() if not job.name.startswith("__")}
    families = ("budget", "catalog", "code_health", "market", "signflow")
    chains = {f"{kind}_{family}" for kind in ("weekly", "daily") for family in families}
    assert names == chains | {"daily_chores", "weekly_chores", "asked"}
    graph = made.asset_graph
    promote = graph.get(dg.AssetKey(["weekly", "catalog", "promote"]))
    assert promote.parent_keys == {dg.AssetKey(["weekly", "catalog", "evaluate"])}
    assert graph.get(dg.AssetKey(["daily", "chores", "backup"])).parent_keys == set()
    priorities = {job: made.get_job(job).tags["dagster/priority"] for job in ("daily_chores", "weekly_catalog")}
    assert priorities == {"daily_chores": "1", "weekly_catalog": "0"}
    assert made.get_job("weekly_chores").tags["dagster/priority"] == "-1", "the report is of what the week decided"


def test_what_people_ask_for_starts_a_run_and_the_page_knows_that_one_looks(
    database: Database, database_url: str
) -> None:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    made = definitions(Settings(database_url=SecretStr(database_url))).get_repository_def()
    sensor = made.get_sensor_def("asked")

    def requests() -> list[str | None]:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, repository_def=made) as context,
        ):
            return [one.run_key for one in sensor.evaluate_tick(context).run_requests or ()]

    assert requests() == []
    number = alerts.request_training(database, "catalog", "ada", "new shelves", "k1", now)
    (key,) = requests()
    assert key is not None and key.startswith(f"asked {number} ")
    with database.reading() as connection:
        assert requested_trainings.is_attended(connection, now)

"""What Dagster schedules, retries and shows: the steps of the loop, one asset each, partitioned by week or day.

    weekly_FAMILY   load ─> train ─> evaluate ─> promote      on MARINA_ML_TRAINING_SCHEDULE
    daily_FAMILY    train ─> evaluate ─> promote              on MARINA_ML_DAILY_SCHEDULE
    daily_chores    drift, held_out, retention, backup        likewise
    weekly_chores   report                                    with the week, after its families
    asked           what people asked for in the console      when they did

An asset starts a command, ``scripts/run_step.py``, and looks at its exit status; it computes nothing. A partition's key
is the date on which its run is due, so that a run is the same to Dagster and to scripts/loop.py, and is done once.
"""

# Dagster reads the annotations of an asset's context when it is defined: they may not be postponed here.
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from marina.database.connection import Database
from marina.monitoring.loop_metrics import LAST_STEP, WEEKLY
from marina.monitoring.requested_trainings import ASKED, LOOPS, pending
from marina.pipelines import commands, step_list
from marina.pipelines.schedule import Schedule, parse
from marina.releases.lease import Lease
from marina.settings import ROOT, Settings, read_settings

FIRST_DAY = "2026-01-01"
"""Before it there are no partitions."""

MOST_RETRIES = 10
"""How often an asset starts its command again; run_step.py says sooner that a step has failed for good."""

STOPPED_PAUSE_S = 1.0
"""Before a command that was killed is started again."""

LOOK_S = 15
"""Between two looks whether a training was asked for."""

ASKED_AGAIN_S = 300
"""What is not finished, since it failed or has to wait, is taken up again so often."""

UNFINISHED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]

RUN_STEP = ROOT / "scripts" / "run_step.py"


class Chain:
    """One job: assets that follow one another, or that wait for nothing.

    Attributes
    ----------
    family
        Its name, or `step_list.ALL`.
    schedule
        When it is due.
    names
        Its steps.
    waiting
        Whether each waits for the one before.
    priority
        Of runs that are due, those of a higher one begin before the others.
    partitions
        The dates on which it is due.
    """

    def __init__(
        self,
        settings: Settings,
        family: str,
        schedule: Schedule,
        names: Sequence[str],
        waiting: bool = True,
        priority: int = 0,
    ) -> None:
        self.name = f"{schedule.name}_{'chores' if family == step_list.ALL else family}"
        self._family, self._schedule = family, schedule
        self._training_limit_s = step_list.whole_training_s(settings)
        self.partitions = dg.TimeWindowPartitionsDefinition(
            start=FIRST_DAY, fmt="%Y-%m-%d", timezone=str(schedule.zone), cron_schedule=schedule.cron, end_offset=1
        )
        self.assets: list[dg.AssetsDefinition] = []
        for name in names:
            self.assets.append(self._asset(name, self.assets[-1:] if waiting else []))
        limits_s = [step_list.limit_s(name, self._training_limit_s) + step_list.HOUR_S for name in names]
        self.job = dg.define_asset_job(
            self.name,
            list(self.assets),
            executor_def=dg.in_process_executor,
            # A day's chores first: they take minutes, and of runs there is one at a time. A week's are about its runs.
            tags={"dagster/priority": str(priority), "dagster/max_runtime": str(int(3 * sum(limits_s)))},
        )

    def _asset(self, name: str, before: Sequence[dg.AssetsDefinition]) -> dg.AssetsDefinition:
        family, key_of = self._family, self.key
        limit_s = step_list.limit_s(name, self._training_limit_s) + step_list.HOUR_S
        steps = [name, LAST_STEP] if name == "promote" else [name]

        @dg.asset(
            key=[self._schedule.name, "chores" if family == step_list.ALL else family, name],
            deps=list(before),
            partitions_def=self.partitions,
            group_name=self.name,
            description=f"{name}, as scripts/run_step.py does it.",
        )
        def step(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
            own = [] if family == step_list.ALL else ["--family", family]
            command = [sys.executable, str(RUN_STEP), "--run", key_of(context.partition_key), *own, "--steps", *steps]
            done = commands.run(command, limit_s, cwd=str(ROOT))
            context.log.info(done.tail or "no words")
            if done.exit == 0:
                return dg.MaterializeResult(
                    metadata={"result": dg.MetadataValue.json(json.loads(json.dumps(done.result)))}
                )
            said = f"{name} ended with exit status {done.exit}: {done.tail[-500:]}"
            if done.exit == commands.NEVER:
                raise dg.Failure(said, allow_retries=False)
            pause_s = float(done.result.get("again_in_s", STOPPED_PAUSE_S))
            raise dg.RetryRequested(max_retries=MOST_RETRIES, seconds_to_wait=pause_s) from dg.Failure(said)

        return step

    def key(self, partition: str) -> str:
        """Return the key of the run of a partition."""
        return f"{self._schedule.name} {partition}"

    def scheduled(self) -> dg.ScheduleDefinition:
        """Return what starts it, by the clocks of its place, from the first start on."""

        def due(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
            # The date is the run's, whatever daylight saving does to the hour.
            date = context.scheduled_execution_time.astimezone(self._schedule.zone).date().isoformat()
            yield dg.RunRequest(run_key=self.key(date), partition_key=date)

        evaluate: Callable[..., Any] = due
        return dg.ScheduleDefinition(
            name=self.name,
            job=self.job,
            cron_schedule=self._schedule.cron,
            execution_timezone=str(self._schedule.zone),
            execution_fn=evaluate,
            default_status=dg.DefaultScheduleStatus.RUNNING,  # Dagster's own default is that someone switches it on
        )


def asked_for(settings: Settings) -> dg.SensorDefinition:
    """Return what looks whether people asked for trainings, and starts ``scripts/loop.py asked`` where they did."""
    command = [sys.executable, str(ROOT / "scripts" / "loop.py"), "asked", "--families", *family_names(settings)]
    limit_s = step_list.whole_training_s(settings) + step_list.HOUR_S
    lease = Lease(LOOPS[1], settings.replica_name)  # says that one runs, and no more

    @dg.op(name=f"{ASKED}_for")
    def run(context: dg.OpExecutionContext) -> None:
        done = commands.run(command, limit_s, cwd=str(ROOT))
        context.log.info(done.tail or "no words")
        if done.exit not in (0, commands.ANOTHER_ACTS):
            raise dg.Failure(f"it ended with exit status {done.exit}: {done.tail[-500:]}", allow_retries=False)

    tags = {"dagster/priority": "2", "dagster/max_runtime": str(int(limit_s))}

    @dg.job(name=ASKED, executor_def=dg.in_process_executor, tags=tags)
    def job() -> None:
        run()

    def look(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        database = Database(settings.database)
        try:
            now = time.time()
            with database.writing() as connection:
                lease.take(connection, now)
                found = pending(connection, now)
        finally:
            database.close()
        under_way = dg.RunsFilter(job_name=ASKED, statuses=UNFINISHED)
        if found and not context.instance.get_runs_count(under_way):
            yield dg.RunRequest(run_key=f"{found[0][0].run} {int(now // ASKED_AGAIN_S)}")

    evaluate: Callable[..., Any] = look
    return dg.SensorDefinition(
        name=ASKED,
        job=job,
        evaluation_fn=evaluate,
        minimum_interval_seconds=LOOK_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Trains what people asked for, as scripts/loop.py asked does it.",
    )


def family_names(settings: Settings) -> list[str]:
    """Return the families that are run: the settings', or each that has a folder in `training/`."""
    return settings.ml_families or sorted(path.parent.name for path in Path(ROOT, "training").glob("*/recipe.py"))


def chains(settings: Settings) -> list[Chain]:
    """Return every job there is."""
    weekly = parse(WEEKLY, settings.ml_training_schedule, settings.ml_time_zone)
    daily = parse(step_list.DAILY, settings.ml_daily_schedule, settings.ml_time_zone)
    week, day = ([name for name in names if name != LAST_STEP] for names in (step_list.SHOWN_WEEK, step_list.SHOWN_DAY))
    families, chores = family_names(settings), step_list.chores(settings)
    each_day = [name for name in chores if name not in step_list.WEEKLY_CHORES]
    return [
        *(Chain(settings, family, weekly, week) for family in families),
        *(Chain(settings, family, daily, day) for family in families),
        Chain(settings, step_list.ALL, daily, each_day, waiting=False, priority=1),
        Chain(settings, step_list.ALL, weekly, step_list.WEEKLY_CHORES, waiting=False, priority=-1),
    ]


def definitions(settings: Settings) -> dg.Definitions:
    """Return all that Dagster is to know."""
    made = chains(settings)
    return dg.Definitions(
        assets=[asset for chain in made for asset in chain.assets],
        jobs=[chain.job for chain in made],
        schedules=[chain.scheduled() for chain in made],
        sensors=[asked_for(settings)],
    )


defs = definitions(read_settings())

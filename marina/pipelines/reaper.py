"""Before the daemon starts: runs that a power cut ended are reported failed, so that Dagster resumes them.

Its default launcher does not look whether a run's process is still there: such a run would stay STARTED, and hold the
place of the next one.
"""

import dagster as dg

CUT_OFF = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def reap(instance: dg.DagsterInstance) -> list[str]:
    """Report runs failed whose processes are gone; return their ids.

    Parameters
    ----------
    instance
        Of which no run's process is left.
    """
    _ = instance.event_log_storage, instance.schedule_storage  # makes the tables that are not there yet
    cut_off = instance.get_run_records(dg.RunsFilter(statuses=CUT_OFF))
    for record in cut_off:
        instance.report_run_failed(record.dagster_run, "It was running when the machine or the orchestrator stopped.")
    return [record.dagster_run.run_id for record in cut_off]


if __name__ == "__main__":
    with dg.DagsterInstance.get() as own:
        for run_id in reap(own):
            print(f"run {run_id} was cut off; it is resumed")

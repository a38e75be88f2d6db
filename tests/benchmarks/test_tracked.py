from pathlib import Path

from archives.tracking_store import connect, quiet
from benchmarks import training


def test_how_fast_it_trains_is_tracked_with_its_options(state_dir: str) -> None:
    assert training.main(["--batch-size", "4", "--steps", "2", "--passes", "1"]) == 0
    with quiet():
        client, _ = connect(Path(state_dir))
        experiment = client.get_experiment_by_name("training-speed")
        run = client.search_runs([experiment.experiment_id])[0]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["clips_per_s"] > 0
    assert run.data.params["steps"] == "2" and run.data.params["processes"] == "1"

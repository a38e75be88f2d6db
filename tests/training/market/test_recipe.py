import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archives.contract import ArchiveError
from models.market.alerts import LABELS
from models.market.features import NAMES
from tests.families.market import releases
from training.data import splits
from training.market.ensembles import AlertEnsembles, mean_auc
from training.market.metrics import EMBARGO, metrics
from training.market.recipe import MODEL, Trained, TrainOptions, add_arguments, from_arguments, train
from training.market.recorded import PRICES
from training.market.release import decisions, example, golden
from training.market.rows import expected_peaks, tabulate
from training.market.synthetic import Synthesis, generate
from training.packaging.archive import build

TINY = AlertEnsembles(trees=3, rounds=3)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home: Path) -> Trained:
    synthesis = Synthesis(hours=2000, assets=4)
    return train(TrainOptions(home=home, synthesis=synthesis, ensembles=TINY, stride=8, folds=2, trials=2))[MODEL]


def test_a_run_is_recorded_with_its_scores_search_and_explanations(trained: Trained, home: Path) -> None:
    assert {"auc", "f1", "SPIKE_LIKELY_4h.auc"} <= set(metrics(trained.learned.scores))
    assert len(trained.learned.scores) == 16 and int(trained.params["rows"]) > 150
    names = {path.name for path in home.rglob("*") if path.is_file()}
    assert {
        "scores.md",
        "onsets.md",
        "slices.md",
        "reliability.png",
        "search.md",
        "manifest.json",
        "spike_likely@24h_features.tsv",
    } <= names


def test_what_is_kept_for_drift_was_answered_by_who_had_not_seen_it(trained: Trained) -> None:
    learned = trained.learned
    assert learned.reference.shape[1] == len(NAMES) and learned.probabilities.shape == learned.happened.shape
    seen, _ = learned.answers(learned.reference)
    assert not np.allclose(seen, learned.probabilities, atol=1e-3)


def test_what_ships_answers_another_market_no_worse_than_what_was_evaluated(trained: Trained) -> None:
    assert trained.fits.refitted and "out of 2 folds" in trained.fits.evaluated
    assert trained.fits.shipped.startswith(f"all {int(trained.params['rows']):,} hours")
    table = tabulate(generate(Synthesis(hours=2000, assets=4)), 8)
    learned, _ = splits.by_time(table.times, 2, EMBARGO)[-1]
    evaluated = AlertEnsembles(**trained.learned.ensembles.get_params())
    evaluated.fit(table.features[learned], table.outcomes.happened[learned])
    fresh = [tabulate(generate(Synthesis(hours=2000, assets=4, seed=seed)), 8) for seed in (97, 98, 99)]
    shipped, before = (
        np.array([mean_auc(fitted, one.features, one.outcomes.happened) for one in fresh])
        for fitted in (trained.learned.ensembles, evaluated)
    )
    gained = shipped - before
    assert gained.mean() >= -2 * gained.std(ddof=1) / len(gained) ** 0.5


def test_thresholds_and_peaks_are_sane(trained: Trained) -> None:
    assert ((trained.learned.thresholds > 0) & (trained.learned.thresholds < 1)).all()
    assert np.isfinite(trained.learned.peaks).all()


def test_a_table_does_not_change_with_the_future() -> None:
    history = generate(Synthesis(hours=900, assets=3))
    whole, part = tabulate(history, 4), tabulate(history.part(slice(700)), 4)
    count = len(part.times)
    assert 0 < count < len(whole.times)
    np.testing.assert_array_equal(part.features, whole.features[:count])
    for name in ("happened", "already", "persisted", "reading", "regime"):
        np.testing.assert_array_equal(getattr(part.outcomes, name), getattr(whole.outcomes, name)[:count])


def test_stronger_readings_foretell_stronger_events() -> None:
    found = tabulate(generate(Synthesis(hours=4000, assets=4)), 4).outcomes
    lines = expected_peaks(found)
    question = LABELS.index("SPIKE_LIKELY@4h")
    assert lines[question, 1] > 0
    told = lines[question, 0] + lines[question, 1] * found.reading[found.happened[:, question], question]
    assert told.mean() == pytest.approx(found.peak[found.happened[:, question], question].mean())


def test_a_recorded_folder_is_trained_on(tmp_path: Path, home: Path) -> None:
    history = generate(Synthesis(hours=1500, assets=3))
    table = pd.concat(
        pd.DataFrame(
            {
                "asset": name,
                "date": pd.to_datetime(history.times, utc=True) - pd.Timedelta(hours=1),
                **dict.fromkeys(("open", "high", "low", "close"), history.prices[:, k]),
            }
        ).dropna()
        for k, name in enumerate(history.assets)
    )
    table.to_parquet(tmp_path / PRICES)
    options = TrainOptions(data=str(tmp_path), home=home, ensembles=TINY, stride=4, folds=2)
    result = train(options)[MODEL]
    assert result.params["hours"] == 1500 and result.params["assets"] == 3
    assert np.isnan(result.learned.reference[:, -4:]).all()  # prices alone
    told = example(result.learned.week)
    assert set(told) == {"prices", "time"} and set(map(len, told["prices"].values())) == {168}


def test_a_short_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 50 hours to learn from, got 4\d: give a longer"):
        train(TrainOptions(home=tmp_path, synthesis=Synthesis(hours=400, assets=3), ensembles=TINY))


def test_options_come_from_a_command_line(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = from_arguments(parser.parse_args(["--hours", "700", "--seed", "3", "--stride", "2"]), tmp_path)
    assert options.synthesis == Synthesis(hours=700, seed=3) and (options.stride, options.seed) == (2, 3)
    assert options.home == Path(tmp_path) and options.data == "synthetic"


def test_golden_rows_have_what_is_rare() -> None:
    rows = golden(np.random.default_rng(0).normal(size=(100, len(NAMES))).astype(np.float32))
    assert np.isnan(rows["nothing_known"]).all() and np.isnan(rows["prices_alone"][:, -4:]).all()
    assert np.isnan(rows["something_missing"]).any(axis=0).all() and np.abs(rows["extremes"]).max() > 1e29


def test_an_answer_on_the_other_side_of_a_threshold_is_another_decision() -> None:
    decide = decisions(np.full(16, 0.3))
    base = np.full((1, 16), 0.5)
    for other in (0.29, 0.71, 0.86):
        moved = base.copy()
        moved[0, 0] = other
        changed = decide({"probabilities": moved}) != decide({"probabilities": base})
        assert changed[0].tolist() == [True] + [False] * 15


def test_a_graph_that_decides_otherwise_is_not_built(tmp_path: Path) -> None:
    release = releases()[MODEL]
    [case] = release.evaluation
    flipped = case.outputs["probabilities"].copy()
    flipped[3, 3] = flipped[3, 3] < release.contract.thresholds[LABELS[3]]
    moved = type(case)(case.name, case.inputs, {**case.outputs, "probabilities": flipped})
    with pytest.raises(ArchiveError, match="decides 1 of"):
        build(type(release)(**{**vars(release), "evaluation": (moved,)}), tmp_path)

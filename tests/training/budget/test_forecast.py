from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from handlers.engine import OnnxEngine
from models.budget.forecast_features import FEATURES
from models.quality.measures import mape, wape
from tests.training.refits import assert_no_worse
from training.budget.forecast.fit import DAYS
from training.budget.forecast.forecaster import QUANTILES, conformal, stretched
from training.budget.forecast.metrics import baselines, coverage
from training.budget.forecast.recipe import Options, Trained, household_series, train
from training.budget.forecast.release import release
from training.budget.forecast.series import asked, seasons_of, series_of
from training.budget.synthetic.accounts import Synthesis, generate

FEW: dict[str, Any] = {"users": 5, "months": 21}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def trained(home: Path) -> Trained:
    return train(Options(home=home, **FEW))


@pytest.fixture(scope="module")
def quick(home: Path) -> Trained:
    return train(Options(home=home, quick=True, **FEW))


def test_equal_seeds_train_equal_forecasters(quick: Trained, home: Path) -> None:
    again = train(Options(home=home, quick=True, **FEW))
    assert again.metrics == quick.metrics
    assert again.forecaster.graph() == quick.forecaster.graph()


def test_forecasts_get_better_as_the_month_goes_on(trained: Trained) -> None:
    errors = [trained.metrics[f"day_{day}.wape"] for day in DAYS]
    assert errors[-1] < errors[0] / 2


def test_it_beats_last_month_and_the_run_rate_in_the_middle_of_the_month(trained: Trained) -> None:
    sighted = trained.test.select(np.arange(len(trained.test) // 2))
    plain = baselines(sighted.moment)
    middle = sighted.moment.day == 15
    median = sighted.guess.euros(trained.test_answers[: len(sighted)])[middle, 1]
    mine = wape(sighted.total[middle], median)
    assert mine < min(wape(sighted.total[middle], plain[name][middle]) for name in ("last month", "run rate"))


def test_what_ships_learns_from_all_months_and_says_so(trained: Trained) -> None:
    assert trained.fits.refitted and not trained.quick
    assert trained.fits.shipped.startswith("all 21 months of all 5 households")


def test_a_quick_run_ships_the_evaluated_fit_and_says_so(trained: Trained, quick: Trained) -> None:
    assert quick.quick and not quick.fits.refitted
    assert np.array_equal(quick.test_answers, quick.forecaster.answers(quick.test.guess.rows))
    # nothing was searched but the defaults: the long run's figures are of the same fit
    assert quick.metrics == trained.metrics
    assert np.array_equal(quick.test_answers, trained.test_answers)
    assert not np.array_equal(trained.test_answers, trained.forecaster.answers(trained.test.guess.rows))


def test_what_ships_is_at_least_as_good_as_the_evaluated_fit(trained: Trained, quick: Trained) -> None:
    series = household_series(generate(Synthesis(users=16, months=21, seed=7)), 21)

    def loss(one: Trained) -> npt.NDArray[np.float64]:
        fresh = asked(series, range(15, 21), DAYS, one.forecaster.seasons)
        off = fresh.total[:, None] - one.forecaster.euros(fresh)
        pinball: npt.NDArray[np.float64] = (off * (np.array(QUANTILES) - (off < 0))).mean(axis=1)
        return pinball

    assert_no_worse(loss(trained), loss(quick), series.owners[asked(series, range(15, 21), DAYS).series])


def test_the_graph_answers_as_the_estimators(trained: Trained, tmp_path: Path) -> None:
    made = release(trained, "1.0")
    (tmp_path / "model.onnx").write_bytes(made.onnx)
    engine = OnnxEngine(tmp_path / "model.onnx", made.contract, None)
    for case in (*made.cases, *made.evaluation):
        got = engine.run(case.inputs)
        quantiles: npt.NDArray[Any] = case.outputs["quantiles"]
        np.testing.assert_allclose(got["quantiles"], quantiles, atol=1e-5, err_msg=case.name)
        assert np.array_equal(made.decide(got), made.decide(case.outputs))


def test_the_answers_are_in_order_whatever_comes_in(trained: Trained) -> None:
    rows = np.random.default_rng(0).normal(0, 20, (500, len(FEATURES))).astype(np.float32)
    rows[np.random.default_rng(1).random(rows.shape) < 0.2] = np.nan
    assert (np.diff(trained.forecaster.answers(rows), axis=1) >= 0).all()


def test_too_few_months_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 21 months, got 20"):
        train(Options(home=tmp_path, users=2, months=20))


def test_series_add_up_what_was_spent_by_each_day() -> None:
    dates = np.array(["2025-01-02", "2025-01-02", "2025-01-31", "2025-02-28", "2025-02-01"], "datetime64[D]")
    series = series_of(np.array(["u"] * 5), np.array(["a", "a", "a", "a", "b"]), dates, np.array([1.0, 2, 4, 8, 16]))
    assert series.categories.tolist() == ["a", "b"] and series.totals.tolist() == [[7, 8], [0, 16]]
    assert series.spent[0, 0, [0, 1, 2, 30, 31]].tolist() == [0, 0, 3, 3, 7]


def test_what_is_asked_knows_nothing_of_later_days() -> None:
    frame = generate(Synthesis(users=2, months=15))
    series = household_series(frame, 15)
    known = asked(series, [13], [10])
    later = frame.copy()
    after = (later["date"] > "2024-02-10").to_numpy()
    later.loc[after, "amount"] *= 3
    changed = asked(household_series(later, 15), [13], [10])
    assert np.array_equal(changed.guess.rows, known.guess.rows, equal_nan=True)
    assert not np.array_equal(changed.total, known.total)


def test_days_beyond_a_month_are_its_last_and_blind_questions_know_no_days() -> None:
    series = household_series(generate(Synthesis(users=1, months=15)), 15)
    assert set(asked(series, [13], [31]).moment.day.tolist()) == {29}  # February 2024
    assert np.isnan(asked(series, [13], [10], blind=1.0).moment.by_day).all()
    last = asked(series, [13], [31])
    np.testing.assert_allclose(last.moment.spent, last.total)


def test_seasons_are_in_usual_months_and_unknown_where_little_was_seen() -> None:
    totals = np.full((20, 24), 100.0)
    totals[:, 18] = 300.0
    series = series_of(
        np.repeat([f"u{k}" for k in range(20)], 24),
        np.array(["a"] * 480),
        np.tile(np.datetime64("2024-01") + np.arange(24), 20).astype("datetime64[D]"),
        totals.ravel(),
    )
    seasons = seasons_of(series, range(12, 24))
    assert seasons["a"][6] == 3.0 and seasons["a"][0] == 1.0
    assert np.isnan(seasons_of(series.select(np.arange(5)), range(12, 24))["a"]).all()


def test_conformal_stretching_makes_intervals_hold_what_they_say() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=4000)
    narrow = np.tile([-0.2, 0.0, 0.2], (4000, 1))
    below, above = conformal(narrow, target)
    assert coverage(target, stretched(narrow, below, above)) == pytest.approx(0.8, abs=0.01)
    assert below == pytest.approx(1.28 / 0.2, rel=0.05)


def test_errors_are_shares_of_what_was_forecast() -> None:
    truth, forecast = np.array([100.0, 10.0, 50.0]), np.array([110.0, 20.0, 25.0])
    assert wape(truth, forecast) == pytest.approx(45 / 160)
    assert mape(truth, forecast) == pytest.approx((0.1 + 0.5) / 2)  # ten euros are too few to count

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from models.budget.labels import parsed
from models.budget.rules import RuleSet
from models.known_words import KnownWords
from tests.training.refits import assert_no_worse
from training.budget import user_tables
from training.budget.categorizer import recipe as budget_categorizer
from training.budget.categorizer import rules as budget_rules
from training.budget.categorizer import weak_supervision
from training.budget.categorizer.estimators import LinearBag, StackedTrees
from training.budget.categorizer.few_labels import compare, markdown
from training.budget.categorizer.fit import Examples, Settings, compare_half_lives, fit, logits_of
from training.budget.categorizer.merchant_profiles import profiles
from training.budget.categorizer.recipe import Options
from training.budget.categorizer.release import graph, release
from training.budget.categorizer.sureness import Sureness
from training.budget.categorizer.vectorizer import Transactions, Vectorizer
from training.budget.categorizer.weak_supervision import UNKNOWN, Trust, weak_labels, worth_asking
from training.budget.synthetic.accounts import CATEGORIES, Synthesis, generate
from training.calibration import VectorScaling
from training.data.quality import BadDataError
from training.evaluation.reliability import first_choice
from training.export.onnx_graph import finished
from training.family import Fits
from training.packaging.archive import build

SMALL = Synthesis(users=8, months=3, seed=2)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return generate(SMALL)


@pytest.fixture(scope="module")
def bank(frame: pd.DataFrame) -> Transactions:
    return Transactions.of(frame)


@pytest.fixture(scope="module")
def truth(frame: pd.DataFrame) -> np.ndarray:
    places: np.ndarray = np.searchsorted(CATEGORIES, frame["category"].to_numpy().astype(str))
    return places


def test_a_linear_model_learns_and_its_table_is_what_serves(bank: Transactions, truth: np.ndarray) -> None:
    vectorizer = Vectorizer.fit(bank)
    rows = vectorizer.rows(bank)
    model = LinearBag().fit(rows, truth)
    assert (model.predict(rows) == truth).mean() > 0.9
    assert np.allclose(model.predict_proba(rows).sum(axis=1), 1)


def test_two_classes_have_two_columns(bank: Transactions, truth: np.ndarray) -> None:
    vectorizer = Vectorizer.fit(bank)
    two = (truth == 1) | (truth == 18)
    model = LinearBag().fit(vectorizer.rows(bank.select(two)), truth[two])
    assert model.table_.shape[1] == 2 and (model.predict(vectorizer.rows(bank.select(two))) == truth[two]).mean() > 0.95


@pytest.mark.parametrize("kind", ["linear", "forest", "boosted"])
def test_the_graph_of_every_kind_answers_as_the_estimator(
    kind: str, bank: Transactions, truth: np.ndarray, frame: pd.DataFrame, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    some = np.arange(0, len(bank), 2)
    vectorizer = Vectorizer.fit(bank.select(some))
    estimator = LinearBag(iterations=15) if kind == "linear" else StackedTrees(kind, 4, 3, iterations=10)
    rows = vectorizer.rows(bank.select(some))
    estimator.fit(rows, truth[some])
    calibration = VectorScaling.fit(logits_of(estimator, rows, len(CATEGORIES)), truth[some])
    trained = budget_categorizer.Trained(
        estimator, calibration, vectorizer, CATEGORIES, budget_rules.read(), (), {"rule": 0.9, "model": 0.5}, "hybrid",
        bank.select(some[:64]), truth[some[:64]], frame.iloc[some[:64]], np.full((64, len(CATEGORIES)), 0.04),
        KnownWords.fit(bank.parsed.texts), Sureness(0.5, 0.9, 0.95, 0.91, 0.3, 100), metrics={}, params={},
        data_manifest_sha256="", mlflow_run_id="", fits=Fits(evaluated="nothing", shipped="nothing"),
    )  # fmt: skip
    case = release(trained, "1.0").evaluation[0]
    session = onnxruntime.InferenceSession(finished(graph(trained)))
    served = session.run(None, dict(case.inputs))[0]
    assert np.abs(served - case.outputs["probabilities"]).max() < 1e-5
    assert (served.argmax(axis=1) == case.outputs["probabilities"].argmax(axis=1)).all()


def test_the_same_seed_trains_the_same_graph(tmp_path: Path) -> None:
    options = Options(home=tmp_path, synthesis=Synthesis(users=6, months=2), quick=True)
    first, second = (budget_categorizer.train(options) for _ in range(2))
    assert np.array_equal(first.estimator.table_, second.estimator.table_)
    assert {name: first.metrics[name] for name in first.metrics} == second.metrics
    one, other = release(first, "1.0"), release(second, "1.0")
    assert one.onnx == other.onnx and one.family_data == other.family_data and one.contract == other.contract
    assert build(one, tmp_path).gap < 1e-5


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, budget_categorizer.Trained]:
    """Return what a usual run and a quick one train, by whether it was quick."""
    home, what = tmp_path_factory.mktemp("home"), Synthesis(users=6, months=2)
    options = Options(home=home, synthesis=what, estimators=("linear",), trials=1)
    return {quick: budget_categorizer.train(dataclasses.replace(options, quick=quick)) for quick in (False, True)}


def test_what_ships_is_fitted_to_all_rows_and_says_so(both: dict[bool, budget_categorizer.Trained]) -> None:
    trained = both[False]
    rows = int(trained.params["rows_kept"]) + int(trained.params["rows_test"])
    assert trained.fits.refitted and not trained.quick
    assert trained.fits.shipped.startswith(f"all {rows:,} transactions")
    reference = release(trained, "1.0").reference["confidence"]
    some = trained.unseen.select(np.arange(len(reference)))
    decided = trained.decide(some, trained.unseen_probabilities[: len(reference)])
    assert np.allclose(reference, decided.probabilities, atol=1e-6)
    assert not np.allclose(trained.unseen_probabilities, trained.probabilities(trained.unseen), atol=1e-3)


def test_a_quick_run_ships_the_evaluated_fit_and_says_so(both: dict[bool, budget_categorizer.Trained]) -> None:
    trained = both[True]
    assert trained.quick and not trained.fits.refitted
    assert np.allclose(trained.unseen_probabilities, trained.probabilities(trained.unseen))
    # there is one kind of estimator, which is not searched: the long run's figures are of the same fit
    assert trained.metrics == both[False].metrics


def test_what_ships_is_at_least_as_good_as_the_evaluated_fit(both: dict[bool, budget_categorizer.Trained]) -> None:
    fresh = generate(Synthesis(users=12, months=2, seed=7))
    fresh = fresh[fresh["category"].isin(both[False].labels)].reset_index(drop=True)
    truth = np.searchsorted(both[False].labels, fresh["category"].to_numpy().astype(str))
    asked = Transactions.of(fresh)
    shipped, evaluated = (
        -np.log(np.maximum(both[quick].probabilities(asked)[np.arange(len(truth)), truth], 1e-9))
        for quick in (False, True)
    )
    assert_no_worse(shipped, evaluated, fresh["user"].to_numpy().astype(str))


def test_recent_rows_count_more_only_where_that_foresees_later_ones_better(frame: pd.DataFrame) -> None:
    def examples(changed: bool, months: int = 30) -> Examples:
        """Make up months in which a shop changes what it sells, or does not."""
        days = np.arange(months * 30)
        later = days >= len(days) / 3
        sold = np.where(later, "b", "a") if changed else np.where(days % 2 == 0, "a", "b")
        rows = pd.DataFrame({
            "label": np.where(days % 2 == 0, "CB ALPHA", "CB BETA"), "amount": -5.0, "category": sold,
            "date": np.datetime64("2023-01-01") + days, "user": "u", "group": "u", "weight": 1.0, "tagged": True,
        })  # fmt: skip
        return Examples.of(rows, RuleSet(()), ("a", "b"))

    moved = compare_half_lives(examples(changed=True), LinearBag(iterations=10))
    assert max(moved, key=lambda months: moved[months]) > 0 and moved[6] > moved[0] + 0.1
    still = compare_half_lives(examples(changed=False), LinearBag(iterations=10))
    assert max(still, key=lambda months: still[months]) == 0
    assert compare_half_lives(examples(changed=True, months=18), LinearBag(iterations=10)) == {}


def test_confidences_mean_what_they_say_of_owners_not_seen(frame: pd.DataFrame) -> None:
    rows = frame.assign(weight=1.0, tagged=True, group=frame["user"])
    known, asked = (rows[(rows["user"] < "user-0006") == mine].reset_index(drop=True) for mine in (True, False))
    model = fit(Examples.of(known, RuleSet(()), CATEGORIES), Settings(LinearBag()))
    truth = np.searchsorted(CATEGORIES, asked["category"].to_numpy().astype(str))
    sure, right = first_choice(model.probabilities(Transactions.of(asked)), truth)
    assert abs(float(sure.mean() - right.mean())) < 0.06  # 300 rows; of bins of twenty, chance alone makes 0.07


def test_profiles_are_of_merchants_that_several_households_pay(frame: pd.DataFrame) -> None:
    found = profiles(frame, parsed(frame["label"].tolist()).texts)
    users = frame.groupby("merchant")["user"].nunique()
    assert found and all(users[one.name] >= 3 and one.written for one in found)


def test_weak_labels_prefer_a_tag_to_its_words_and_those_to_rules(frame: pd.DataFrame) -> None:
    few = pd.DataFrame(
        {
            "label": ["CB LIDL 12/03", "CB LIDL 15/03", "CB LIDL LYON", "CB XQZ", "CB XQZ 12/03", "CB QQQ"],
            "amount": [-5.0] * 5 + [5.0],
            "date": pd.Timestamp("2024-03-12"),
        }
    )
    animals = CATEGORIES.index("animaux")
    tags = np.array([UNKNOWN, UNKNOWN, UNKNOWN, animals, UNKNOWN, UNKNOWN])
    rules = budget_rules.read(categories=CATEGORIES)
    weak = weak_labels(Transactions.of(few), tags, rules, CATEGORIES)
    assert [CATEGORIES[at] if at >= 0 else "" for at in weak.labels] == [
        *["alimentation"] * 3, "animaux", "animaux", "",
    ]  # fmt: skip
    assert weak.weights.tolist() == [1, 1, 1, 5, 1, 0]
    tags[0] = animals  # somebody says that LIDL is for the dog
    assert set(weak_labels(Transactions.of(few), tags, rules, CATEGORIES).labels[:3].tolist()) == {animals}
    assert (weak_labels(Transactions.of(few), tags, rules, CATEGORIES, Trust(rule=0, same=0)).labels >= 0).sum() == 2


def test_a_table_of_few_tags_is_completed_and_never_tested_on_guesses(frame: pd.DataFrame) -> None:
    tagged = np.random.default_rng(0).random(len(frame)) < 0.05
    few = frame.assign(category=np.where(tagged, frame["category"], ""))
    whole = weak_supervision.completed(few, budget_rules.read(), generate(Synthesis(4, 2, seed=9)))
    assert (whole["category"] != "").all() and whole["tagged"].sum() == tagged.sum()
    assert len(whole) > 0.6 * len(frame) and (whole["weight"] > 0).all()
    assert whole["user"].str.startswith("synthetic-").sum() == len(generate(Synthesis(4, 2, seed=9)))


def test_questions_go_to_doubtful_words_that_recur() -> None:
    labels = ["CB AAA"] * 5 + ["CB BBB"] + ["CB CCC"] * 9
    frame = pd.DataFrame({"label": labels, "amount": -1.0, "date": pd.Timestamp("2024-03-12")})
    probabilities = np.array([[0.5, 0.5]] * 6 + [[0.99, 0.01]] * 9)
    nobody = np.zeros(15, np.bool_)
    assert worth_asking(Transactions.of(frame), probabilities, nobody, 2).tolist() == [0, 5]


@pytest.mark.slow
def test_few_labels_beat_rules_alone_and_tags_alone() -> None:
    found = {one.name: one for one in compare(users=12, months=6, console=Console(quiet=True))}
    both = found["tags, rules and synthesis"]
    assert both.hybrid_accuracy > found["rules alone"].accuracy + 0.03
    assert both.accuracy > found["0.8% tagged at random"].accuracy + 0.1
    assert markdown(list(found.values())).count("\n") == len(found) + 1


def test_own_transactions_are_read_checked_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "label,amount,date,category\nCB LIDL,-3.5,2024-03-12,alimentation\nVIR X,abc,2024-03-01,\nCB Y,-1,2024-02-30,\n"
        "CB Z,-2,2024-01-05,\n"
    )
    frame, faults = user_tables.read(path)
    assert frame["label"].tolist() == ["CB Z", "CB LIDL"] and frame["category"].tolist() == ["", "alimentation"]
    assert sorted(fault.index or 0 for fault in faults) == [1, 2]
    with pytest.raises(BadDataError):
        user_tables.read(path, "refuse")
    path.write_text("label,amount\nA,1\n")
    with pytest.raises(BadDataError, match="missing column date"):
        user_tables.read(path)


def test_own_transactions_train_a_categorizer(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "mine.parquet"
    kept = np.random.default_rng(0).random(len(frame)) < 0.5
    frame.assign(category=np.where(kept, frame["category"], "")).drop(columns=["anomaly"]).to_parquet(path)
    options = Options(data=str(path), home=tmp_path, synthesis=Synthesis(4, 2), estimators=("linear",), trials=1)
    trained = budget_categorizer.train(options)
    assert trained.metrics["accuracy"] > 0.6 and trained.params["data"] == "mine.parquet"

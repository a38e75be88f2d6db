from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from models.budget.labels import parsed
from training import budget_categorizer, budget_rules, budget_weak
from training.archive import build
from training.budget_bags import Bagger, Bank
from training.budget_categorizer import Options
from training.budget_categorizer_archive import graph, release
from training.budget_estimators import LinearBag, StackedTrees
from training.budget_few_labels import compare, markdown
from training.budget_profiles import profiles
from training.budget_weak import UNKNOWN, Trust, weak_labels, worth_asking
from training.calibration import Calibration
from training.data import budget_tables
from training.data.budget_synthetic import CATEGORIES, Synthesis, generate
from training.data.quality import BadDataError
from training.graphs import finished

SMALL = Synthesis(users=8, months=3, seed=2)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return generate(SMALL)


@pytest.fixture(scope="module")
def bank(frame: pd.DataFrame) -> Bank:
    return Bank.of(frame)


@pytest.fixture(scope="module")
def truth(frame: pd.DataFrame) -> np.ndarray:
    return np.searchsorted(CATEGORIES, frame["category"].to_numpy().astype(str))


def test_a_linear_model_learns_and_its_table_is_what_serves(bank: Bank, truth: np.ndarray) -> None:
    bagger = Bagger.fit(bank)
    rows = bagger.rows(bank)
    model = LinearBag().fit(rows, truth)
    assert (model.predict(rows) == truth).mean() > 0.9
    assert np.allclose(model.predict_proba(rows).sum(axis=1), 1)


def test_two_classes_have_two_columns(bank: Bank, truth: np.ndarray) -> None:
    bagger = Bagger.fit(bank)
    two = (truth == 1) | (truth == 18)
    model = LinearBag().fit(bagger.rows(bank.select(two)), truth[two])
    assert model.table_.shape[1] == 2 and (model.predict(bagger.rows(bank.select(two))) == truth[two]).mean() > 0.95


@pytest.mark.parametrize("kind", ["linear", "forest", "boosted"])
def test_the_graph_of_every_kind_answers_as_the_estimator(
    kind: str, bank: Bank, truth: np.ndarray, frame: pd.DataFrame, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    some = np.arange(0, len(bank), 2)
    bagger = Bagger.fit(bank.select(some))
    estimator = LinearBag(iterations=15) if kind == "linear" else StackedTrees(kind, 4, 3, iterations=10)
    rows = bagger.rows(bank.select(some))
    estimator.fit(rows, truth[some])
    calibration = Calibration.fit(budget_categorizer.logits_of(estimator, rows, len(CATEGORIES)), truth[some])
    trained = budget_categorizer.Trained(
        estimator, calibration, bagger, CATEGORIES, budget_rules.read(), (), {"rule": 0.9, "model": 0.5}, "hybrid",
        bank.select(some[:64]), truth[some[:64]], frame.iloc[some[:64]], {}, {}, "", "",
    )  # fmt: skip
    case = release(trained, "1.0").evaluation[0]
    session = onnxruntime.InferenceSession(finished(graph(trained)))
    served = session.run(None, dict(case.inputs))[0]
    assert np.abs(served - case.outputs["probabilities"]).max() < 1e-5
    assert (served.argmax(axis=1) == case.outputs["probabilities"].argmax(axis=1)).all()


def test_the_same_seed_trains_the_same_graph(tmp_path: Path) -> None:
    options = Options(home=tmp_path, synthesis=Synthesis(users=6, months=2), estimators=("linear",), trials=1)
    first, second = (budget_categorizer.train(options) for _ in range(2))
    assert np.array_equal(first.estimator.table_, second.estimator.table_)
    assert {name: first.metrics[name] for name in first.metrics} == second.metrics
    one, other = release(first, "1.0"), release(second, "1.0")
    assert one.onnx == other.onnx and one.family_data == other.family_data and one.contract == other.contract
    assert build(one, tmp_path).gap < 1e-5


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
    weak = weak_labels(Bank.of(few), tags, rules, CATEGORIES)
    assert [CATEGORIES[at] if at >= 0 else "" for at in weak.labels] == [
        *["alimentation"] * 3, "animaux", "animaux", "",
    ]  # fmt: skip
    assert weak.weights.tolist() == [1, 1, 1, 5, 1, 0]
    tags[0] = animals  # somebody says that LIDL is for the dog
    assert set(weak_labels(Bank.of(few), tags, rules, CATEGORIES).labels[:3].tolist()) == {animals}
    assert (weak_labels(Bank.of(few), tags, rules, CATEGORIES, Trust(rule=0, same=0)).labels >= 0).sum() == 2


def test_a_table_of_few_tags_is_completed_and_never_tested_on_guesses(frame: pd.DataFrame) -> None:
    tagged = np.random.default_rng(0).random(len(frame)) < 0.05
    few = frame.assign(category=np.where(tagged, frame["category"], ""))
    whole = budget_weak.completed(few, budget_rules.read(), generate(Synthesis(4, 2, seed=9)))
    assert (whole["category"] != "").all() and whole["tagged"].sum() == tagged.sum()
    assert len(whole) > 0.6 * len(frame) and (whole["weight"] > 0).all()
    assert whole["user"].str.startswith("synthetic-").sum() == len(generate(Synthesis(4, 2, seed=9)))


def test_questions_go_to_doubtful_words_that_recur() -> None:
    labels = ["CB AAA"] * 5 + ["CB BBB"] + ["CB CCC"] * 9
    frame = pd.DataFrame({"label": labels, "amount": -1.0, "date": pd.Timestamp("2024-03-12")})
    probabilities = np.array([[0.5, 0.5]] * 6 + [[0.99, 0.01]] * 9)
    nobody = np.zeros(15, np.bool_)
    assert worth_asking(Bank.of(frame), probabilities, nobody, 2).tolist() == [0, 5]


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
    frame, faults = budget_tables.read(path)
    assert frame["label"].tolist() == ["CB Z", "CB LIDL"] and frame["category"].tolist() == ["", "alimentation"]
    assert sorted(fault.index for fault in faults) == [1, 2]
    with pytest.raises(BadDataError):
        budget_tables.read(path, "refuse")
    path.write_text("label,amount\nA,1\n")
    with pytest.raises(BadDataError, match="missing column date"):
        budget_tables.read(path)


def test_own_transactions_train_a_categorizer(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "mine.parquet"
    kept = np.random.default_rng(0).random(len(frame)) < 0.5
    frame.assign(category=np.where(kept, frame["category"], "")).drop(columns=["anomaly"]).to_parquet(path)
    options = Options(str(path), tmp_path, Synthesis(4, 2), estimators=("linear",), trials=1)
    trained = budget_categorizer.train(options)
    assert trained.metrics["accuracy"] > 0.6 and trained.params["data"] == "mine.parquet"

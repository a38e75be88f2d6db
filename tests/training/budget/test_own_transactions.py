"""A household's own file: any categories, few rows, few days; trained, or told what is missing."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from models.budget.rules import RuleSet
from training.budget.categorizer import recipe, release
from training.budget.categorizer import rules as budget_rules
from training.budget.categorizer.dataset import fit_rules, fit_synthetic
from training.budget.categorizer.recipe import Options, Trained
from training.budget.plausibility import check_plausible
from training.budget.synthetic.accounts import CATEGORIES, Synthesis, generate
from training.data.quality import BadDataError

COLUMNS = ["label", "amount", "date", "category"]


@pytest.fixture(scope="module")
def own() -> pd.DataFrame:
    return generate(Synthesis(1, 9, seed=4))


def trained(frame: pd.DataFrame, folder: Path, console: Console | None = None) -> Trained:
    path = folder / "mine.csv"
    frame.to_csv(path, index=False)
    options = Options(data=str(path), home=folder, synthesis=Synthesis(3, 2), estimators=("linear",), trials=1)
    return recipe.train(options, console)


def test_a_household_that_lacks_a_category_is_trained_without_its_rules(own: pd.DataFrame, tmp_path: Path) -> None:
    console = Console(record=True, width=300, quiet=False, file=io.StringIO())
    found = trained(own[~own["category"].isin(["animaux", "abonnements"])][COLUMNS], tmp_path, console)
    assert "animaux" not in found.labels and "abonnements" not in {rule.category for rule in found.rules.rules}
    said = console.export_text()
    assert "left out" in said and "abonnements" in said
    assert release.release(found, "1.0").contract.labels == found.labels


def test_names_of_ones_own_are_learned_and_rules_say_the_names_they_know(own: pd.DataFrame, tmp_path: Path) -> None:
    names = {"alimentation": "Courses", "restaurants": "Sorties & restos", "sante": "Santé", "high_tech": "High-Tech"}
    mine = own.assign(category=own["category"].map(lambda one: names.get(one, one)))
    found = trained(mine[COLUMNS], tmp_path)
    assert {"Courses", "Sorties & restos", "Santé"} <= set(found.labels) and "alimentation" not in found.labels
    assert {rule.category for rule in found.rules.rules} <= set(found.labels) and "Santé" in {
        rule.category for rule in found.rules.rules
    }


def test_categories_that_no_rule_says_leave_the_model_alone(own: pd.DataFrame, tmp_path: Path) -> None:
    found = trained(own.assign(category=np.where(own["amount"] < -40, "groß", "klein"))[COLUMNS], tmp_path)
    assert found.labels == ("groß", "klein") and not found.rules.rules
    assert found.metrics["rules_coverage"] == 0 and found.metrics["accuracy"] > 0.6
    family_data = release.release(found, "1.0").family_data
    assert family_data is not None and family_data["rules"] == []


def test_one_household_that_tagged_some_is_tested_on_its_own_tags(own: pd.DataFrame, tmp_path: Path) -> None:
    kept = np.random.default_rng(0).random(len(own)) < 0.5
    found = trained(own.assign(category=np.where(kept, own["category"], ""))[COLUMNS], tmp_path)
    assert int(found.params["rows_test"]) > 10 and found.metrics["accuracy"] > 0.3


def test_five_days_are_enough_to_be_divided(own: pd.DataFrame, tmp_path: Path) -> None:
    few = pd.concat([own.head(50).assign(date=pd.Timestamp("2026-03-01") + pd.Timedelta(days=at)) for at in range(5)])
    found = trained(few[COLUMNS], tmp_path)
    assert found.metrics["accuracy"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.head(20), "at least 40 transactions"),
        (lambda frame: frame.assign(category="tout"), "at least two categories"),
        (
            lambda frame: frame.assign(category=frame["category"].where(np.arange(len(frame)) < 3, "")),
            "at least 40 transactions with a category, got 3",
        ),
        (lambda frame: frame.assign(date="2026-03-01"), "at least 4 days"),
        (lambda frame: frame.assign(amount=-np.round(frame["amount"].abs() * 100)), "cents"),
        (lambda frame: frame.assign(amount=frame["amount"].abs()), "change the sign"),
    ],
)
def test_what_is_missing_is_told(own: pd.DataFrame, tmp_path: Path, change: object, words: str) -> None:
    assert callable(change)
    with pytest.raises(BadDataError, match=words):
        trained(change(own[COLUMNS].copy()), tmp_path)


def test_odd_rows_are_kept_and_said() -> None:
    frame = pd.DataFrame(
        {"label": ["CB PAUL"] * 3, "amount": [0.0, 4.0, -2e6], "date": pd.to_datetime(["2150-01-01"] * 3)}
    )
    said = " ".join(check_plausible(frame, "mine.csv"))
    assert all(words in said for words in ("of 0 EUR", "positive", "more than a household", "days ahead"))
    assert check_plausible(frame.iloc[:0], "mine.csv") == []


def test_rules_and_generated_transactions_take_the_households_names() -> None:
    rules = budget_rules.read()
    assert {rule.category for rule in fit_rules(rules, ["SANTE", "Impôts", "Chat"]).rules} == {"SANTE", "Impôts"}
    assert isinstance(fit_rules(rules, ["x"]), RuleSet) and fit_rules(rules, ["x"]).rules == ()
    some = generate(Synthesis(2, 2))
    assert set(fit_synthetic(some, ["Santé", "Chat"])["category"]) <= {"Santé"}
    assert set(fit_synthetic(some, list(CATEGORIES[:3]))["category"]) == set(some["category"])

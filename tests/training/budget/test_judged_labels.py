from pathlib import Path

import numpy as np
import pytest

from training.budget.categorizer import judged_labels, recipe
from training.budget.categorizer import rules as budget_rules
from training.budget.categorizer.metrics import by_rules
from training.budget.categorizer.rules_report import SURE
from training.budget.categorizer.vectorizer import Transactions
from training.budget.synthetic.accounts import CATEGORIES


@pytest.mark.parametrize("name", judged_labels.SETS)
def test_a_set_has_twenty_labels_of_every_category(name: str) -> None:
    frame = judged_labels.read(name)
    assert (frame["category"].value_counts() == 20).all() and set(frame["category"]) == set(CATEGORIES)
    assert not frame["label"].duplicated().any() and set(" ".join(frame["also"]).split()) <= set(CATEGORIES)


def test_no_label_is_in_both_sets() -> None:
    one, other = (set(judged_labels.read(name)["label"]) for name in judged_labels.SETS)
    assert not one & other


@pytest.mark.parametrize("name", judged_labels.SETS)
def test_sure_rules_are_right_where_a_person_judged(name: str) -> None:
    frame = judged_labels.read(name)
    said, trusted = by_rules(budget_rules.read(), Transactions.of(frame), CATEGORIES)
    sure = trusted >= SURE
    allowed = [{one.category, *one.also.split()} for one in frame.itertuples()]
    right = np.array([CATEGORIES[at] in among for at, among in zip(said.tolist(), allowed, strict=True)])
    assert right[sure].mean() >= 0.98 and sure.mean() > 0.85


@pytest.mark.slow
def test_a_trained_categorizer_answers_sensibly(tmp_path: Path) -> None:
    trained = recipe.train(recipe.Options(home=tmp_path, estimators=("linear",), trials=1))
    for name in judged_labels.SETS:
        found = judged_labels.judge(judged_labels.read(name), trained.decide, trained.labels)
        assert found.sensible >= 0.95 and found.sensible_sure >= 0.98, found.summary()
        assert min(found.by_category.values()) >= 16, found.summary()

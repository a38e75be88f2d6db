"""Answers, phrased by each handler as it phrases a graph's outputs, are read by the kind of truth that they have."""

from typing import Any

import numpy as np

from archives.contract import Contract, Tensor
from handlers.answers import top_labels
from handlers.budget.anomaly import BudgetAnomalyHandler
from handlers.budget.forecast import BudgetForecastHandler
from handlers.code_health import CodeHealthHandler, CodeImpactHandler, CodeMetaHandler
from handlers.market import Market, _answer
from models.budget.anomaly_features import PARTS
from models.market.alerts import LABELS
from models.quality.answers import Amount, read_parts
from models.quality.kinds import kind_of_answer

SHAPE = (Tensor("x", "float32", ("batch", 1)),)


def test_scores_of_code() -> None:
    contract = Contract("code_risk", "1.0", "code_health", "classification", SHAPE, SHAPE, ("sound", "risky"))
    outputs = {"probabilities": np.array([[0.8, 0.2], [0.1, 0.9]]), "members": np.zeros((2, 1))}
    for handler in (CodeHealthHandler(), CodeMetaHandler()):
        handler.contract = contract
        handler._usual_label, handler._label, handler._threshold = "sound", "risky", 0.5
        if isinstance(handler, CodeMetaHandler):
            handler._members = ("a",)
        answers = handler.phrase(outputs, [np.zeros(1, np.float32)] * 2, [1, 1])
        assert [kind_of_answer(one) for one in answers] == ["label", "label"]
        assert [read_parts("label", one) for one in answers] == [{"": "sound"}, {"": "risky"}]
    [impact] = CodeImpactHandler().phrase({"value": np.array([[0.25]])}, [np.zeros(1, np.float32)], [1])
    assert kind_of_answer(impact) == "numbers"
    assert read_parts("numbers", impact) == {"value": Amount(0.25, is_share=True)}


def test_classes() -> None:
    [answer] = top_labels(np.array([[0.2, 0.8]]), ("a", "b"), [2])
    assert kind_of_answer(answer) == "label" and read_parts("label", answer) == {"": "b"}


def test_alerts() -> None:
    some: dict[str, list[Any]] = {"alert": [True, False] * 8, "already": [False] * 15 + [True]}
    item = Market(("BTC",), np.zeros((168, 1)), (), None, affected=([], [], [], []))
    answer = _answer(
        item, 16, list(range(16)), [0.4] * 16, some["alert"], [0.5] * 16, [0] * 16, [0.1] * 16, [0.1] * 16,
        some["already"],
    )  # fmt: skip
    assert kind_of_answer(answer) == "questions"
    said = [None if already else given for given, already in zip(some["alert"], some["already"], strict=True)]
    assert read_parts("questions", answer) == dict(zip(LABELS, said, strict=True))


def test_amounts_of_categories() -> None:
    handler = BudgetForecastHandler()
    limits = {"categories": 40, "months": 60, "transactions": 100}
    handler.contract = Contract("budget_forecast", "1.0", "budget", "regression", SHAPE, SHAPE, limits=limits)
    handler._stretch, handler._seasons = 1.0, [{}] * 12
    months = [{"name": name, "months": [100.0] * 24, "spent": 10.0} for name in ("food", "rent")]
    item = handler.decode({"month": "2026-11", "day": 3, "categories": months})
    [answer] = handler.phrase({"quantiles": np.zeros((2, 3), np.float32)}, [item], [1])
    assert kind_of_answer(answer) == "numbers"
    parts = read_parts("numbers", answer)
    assert list(parts) == ["food", "rent"]
    assert all(isinstance(one, Amount) and one.low is not None and not one.is_share for one in parts.values())


def test_transactions_that_are_reported() -> None:
    handler = BudgetAnomalyHandler()
    handler.contract = Contract(
        "budget_anomaly", "1.0", "budget", "anomaly", SHAPE, SHAPE,
        thresholds={"suspicious": 0.03, "anomalous": 0.3}, limits={"transactions": 100, "history": 1000},
    )  # fmt: skip
    sent = [{"label": f"CARTE {name}", "amount": -9.5, "date": "2026-03-13"} for name in ("SNCF", "FNAC", "LIDL")]
    item = handler.decode({"transactions": sent})
    outputs = {"score": np.array([[0.01], [0.1], [0.9]]), "without": np.zeros((3, len(PARTS)))}
    [answer] = handler.phrase(outputs, [item], [1])
    assert kind_of_answer(answer) == "rows"
    assert read_parts("rows", answer) == {"0": False, "1": True, "2": True}

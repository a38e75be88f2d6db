"""Answers in the form that each model gives, and truths of them, for the tests that hold for all eleven."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.market.alerts import LABELS, QUESTIONS
from models.quality.kinds import Kind, kind_of
from models.quality.measures import LEAST_EUROS

COUNT = 60

SIGNS = ("hello", "thanks", "yes")
CODES = ("10", "2583", "1140", "60")
SPENDING = ("alimentation", "santé", "logement")
PLACES = ("Courses", "Loyer", "Énergie")

Answers = list[Any]
Truths = list[Any]


@dataclass(frozen=True)
class Model:
    """What a model's contract says of its truths, and how its answers look."""

    task: str
    labels: tuple[str, ...]
    thresholds: tuple[str, ...]
    kind: Kind
    answer: Callable[[random.Random], Any]
    truth: Callable[[random.Random, Any], Any]

    def check_kind(self) -> None:
        assert kind_of(self.task, self.labels, self.thresholds) == self.kind


def _ranked(labels: tuple[str, ...], chance: random.Random) -> list[dict[str, Any]]:
    order = chance.sample(labels, len(labels))
    return [{"label": label, "probability": 0.9 / (1 + at)} for at, label in enumerate(order)]


def _categorized(chance: random.Random) -> dict[str, Any]:
    top = _ranked(SPENDING, chance)
    return {**top[0], "source": "model", "why": "…", "rule": None, "operation": "card", "merchant": None, "top": top}


def _alerts(chance: random.Random) -> list[dict[str, Any]]:
    asked = chance.sample(range(16), 16 if chance.random() < 0.8 else 5)
    return [
        {
            "label": LABELS[k], "alert_type": QUESTIONS[k][0], "horizon_h": QUESTIONS[k][1], "probability": 0.4,
            "alert": chance.random() < 0.4, "confidence": 0.9, "severity": None, "severity_estimate": 0.5,
            "reading": 0.2, "already": chance.random() < 0.1, "target_time": None, "assets_affected": ["BTC"],
        }
        for k in asked
    ]  # fmt: skip


def _judged(chance: random.Random) -> dict[str, Any]:
    verdicts = [chance.choice(("normal", "normal", "suspicious", "anomalous")) for _ in range(6)]
    rows = [{"score": 0.1, "verdict": one, "reasons": []} for one in verdicts]
    return {"transactions": rows, "reported": 1, "thresholds": {"suspicious": 0.03, "anomalous": 0.3}}


def _forecast(chance: random.Random) -> dict[str, Any]:
    rows = []
    for name in PLACES:
        middle = round(chance.uniform(5, 900), 2)
        low, high = round(middle * 0.8, 2), round(middle * 1.2, 2)
        rows.append({"name": name, "forecast_eur": middle, "low_eur": low, "high_eur": high, "spent_eur": 1.0})
    total = {"forecast_eur": 1.0, "low_eur": 0.0, "high_eur": 2.0, "spent_eur": 1.0}
    return {"month": "2026-11", "day": 3, "interval": 0.8, "total": total, "categories": rows, "findings": []}


def _scored(labels: tuple[str, ...]) -> Callable[[random.Random], dict[str, Any]]:
    def answer(chance: random.Random) -> dict[str, Any]:
        value = chance.random()
        return {"value": value, "label": labels[value >= 0.5], "threshold": 0.5}

    return answer


def _impact(chance: random.Random) -> dict[str, Any]:
    value = chance.random()
    return {"value": value, "lines": 10_001**value - 1}


def _label(labels: tuple[str, ...]) -> Callable[[random.Random, Any], Any]:
    def truth(chance: random.Random, answer: Any) -> Any:
        said = (answer[0] if isinstance(answer, list) else answer)["label"]
        return {"label": said if chance.random() < 0.7 else chance.choice(labels)}

    return truth


def _happened(chance: random.Random, answer: Any) -> Any:
    known = chance.sample(LABELS, 16 if chance.random() < 0.7 else 4)
    return {"truth": {label: chance.choice((True, False, 0, 1)) for label in known}}


def _found(chance: random.Random, answer: Any) -> Any:
    rows = chance.sample(range(6), chance.randint(1, 6))
    truths = [{"row": row, "anomalous": chance.random() < 0.3} for row in rows]
    return {"truth": truths[0] if len(truths) == 1 else truths}


def _spent(chance: random.Random, answer: Any) -> Any:
    known = chance.sample(answer["categories"], chance.randint(1, len(PLACES)))
    return {"truth": {one["name"]: round(one["forecast_eur"] * chance.uniform(0.5, 1.6), 2) for one in known}}


def _followed(chance: random.Random, answer: Any) -> Any:
    return {"truth": {"lines": chance.randrange(20_000)} if chance.random() < 0.5 else {"value": chance.random()}}


def _code(labels: tuple[str, ...], task: str = "classification") -> Model:
    return Model(task, labels, (labels[1],), "label", _scored(labels), _label(labels))


MODELS = {
    "signflow": Model("classification", SIGNS, (), "label", lambda one: _ranked(SIGNS, one), _label(SIGNS)),
    "catalog": Model("classification", CODES, (), "label", lambda one: _ranked(CODES, one), _label(CODES)),
    "budget_categorizer": Model("classification", SPENDING, ("rule", "model"), "label", _categorized, _label(SPENDING)),
    "budget_anomaly": Model("anomaly", (), ("suspicious", "anomalous"), "rows", _judged, _found),
    "budget_forecast": Model("regression", (), (), "numbers", _forecast, _spent),
    "market_alerts": Model("classification", LABELS, (*LABELS, "SPIKE_LIKELY.S2"), "questions", _alerts, _happened),
    "code_risk": _code(("sound", "risky")),
    "code_anomaly": _code(("usual", "anomalous"), "anomaly"),
    "code_bugs": _code(("clean", "bug")),
    "code_impact": Model("regression", (), (), "numbers", _impact, _followed),
    "code_meta": _code(("sound", "risky")),
}


def made(model: str) -> tuple[Answers, Truths]:
    """Return answers of a model, and a truth of each as it is posted, without its request id."""
    chance = random.Random(model)
    answers = [MODELS[model].answer(chance) for _ in range(COUNT)]
    return answers, [MODELS[model].truth(chance, answer) for answer in answers]


def offline(model: str, answers: Answers, truths: Truths) -> dict[str, float]:
    """Compute the measures of a model from its rows, with other means than the project's own."""
    return _OFFLINE[MODELS[model].kind](model, answers, truths)


def _labels_offline(model: str, answers: Answers, truths: Truths) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score

    said = [(one[0] if isinstance(one, list) else one)["label"] for one in answers]
    true = [one["label"] for one in truths]
    occurring = sorted(set(true))
    found = {
        "accuracy": accuracy_score(true, said),
        "loss": 1 - accuracy_score(true, said),
        "macro_f1": f1_score(true, said, labels=occurring, average="macro"),
        "weighted_f1": f1_score(true, said, labels=occurring, average="weighted"),
    }
    if len(labels := MODELS[model].labels) == 2:
        (right, wrong), _ = confusion_matrix(true, said, labels=labels)
        found |= {
            "precision": precision_score(true, said, pos_label=labels[1]),
            "recall": recall_score(true, said, pos_label=labels[1]),
            "f1": f1_score(true, said, pos_label=labels[1]),
            "false_positive_rate": wrong / (right + wrong),
        }
    return found


def _flags_offline(model: str, answers: Answers, truths: Truths) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    pairs: list[tuple[str, bool, bool]] = []
    losses = []
    for answer, posted in zip(answers, truths, strict=True):
        truth = posted["truth"]
        if model == "market_alerts":
            said = {one["label"]: one["alert"] for one in answer if not one["already"]}
            mine = [(name, said[name], bool(true)) for name, true in truth.items() if name in said]
        else:
            rows = truth if isinstance(truth, list) else [truth]
            verdicts = [one["verdict"] for one in answer["transactions"]]
            mine = [("", verdicts[one["row"]] != "normal", one["anomalous"]) for one in rows]
        pairs += mine
        if mine:
            losses.append(sum(said_ != true for _, said_, true in mine) / len(mine))
    names, said_all, true_all = ([*one] for one in zip(*pairs, strict=True))
    negatives = [one for one, true in zip(said_all, true_all, strict=True) if not true]
    found = {
        "loss": sum(losses) / len(losses),
        "accuracy": accuracy_score(true_all, said_all),
        "precision": precision_score(true_all, said_all),
        "recall": recall_score(true_all, said_all),
        "f1": f1_score(true_all, said_all),
        "false_positive_rate": sum(negatives) / len(negatives),
    }
    if model == "market_alerts":
        each = {}
        for question in sorted(set(names)):
            said_of, true_of = zip(*((a, b) for name, a, b in pairs if name == question), strict=True)
            if any(said_of) or any(true_of):
                each[f"{question}.f1"] = f1_score(true_of, said_of)
        found |= each | {"pooled_f1": found["f1"], "f1": sum(each.values()) / len(each)}
    return found


def _numbers_offline(model: str, answers: Answers, truths: Truths) -> dict[str, float]:
    import numpy as np
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    rows: list[tuple[float, float, float, float]] = []
    losses = []
    for answer, posted in zip(answers, truths, strict=True):
        truth = posted["truth"]
        if model == "code_impact":
            lines = truth.get("lines")
            value = truth["value"] if lines is None else min(1.0, float(np.log(1 + lines) / np.log(10_001)))
            rows.append((value, answer["value"], np.nan, np.nan))
            losses.append(abs(value - answer["value"]))
            continue
        of = {one["name"]: one for one in answer["categories"]}
        mine = [(v, of[k]["forecast_eur"], of[k]["low_eur"], of[k]["high_eur"]) for k, v in truth.items()]
        rows += mine
        error = sum(abs(true - said) for true, said, _, _ in mine)
        losses.append(min(1.0, error / max(LEAST_EUROS, sum(abs(true) for true, *_ in mine))))
    true, said, low, high = np.array(rows).T
    found = {
        "loss": float(np.mean(losses)),
        "rmse": root_mean_squared_error(true, said),
        "mae": mean_absolute_error(true, said),
    }
    if model == "budget_forecast":
        large = true >= LEAST_EUROS
        found |= {
            "wape": np.abs(true - said).sum() / true.sum(),
            "mape": np.mean(np.abs(true - said)[large] / true[large]),
            "coverage": np.mean((true >= low - 0.005) & (true <= high + 0.005)),
        }
    return found


_OFFLINE: dict[Kind, Callable[[str, Answers, Truths], dict[str, float]]] = {
    "label": _labels_offline, "questions": _flags_offline, "rows": _flags_offline, "numbers": _numbers_offline,
}  # fmt: skip

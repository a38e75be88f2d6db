"""From a trained categorizer to a release: one graph of a table, its proofs, and the rules that travel beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from archives.certificate import Arrays, Case
from archives.contract import Contract, Tensor
from models.budget.categories import bag
from models.budget.labels import Parsed, parsed
from models.budget.rules import as_mapping
from training.archive import TABULAR_TOLERANCE, Release, served
from training.budget_bags import Bank
from training.budget_categorizer import LEAST, MODEL, Trained
from training.budget_estimators import FACT_COUNT, NEVER, LinearBag, StackedTrees, passed_on
from training.forest_graphs import Link, Voter, vote
from training.forests import trees_of
from training.graphs import OPSETS, Graph, chained, finished, linear_bag
from training.provenance import provenance

REFERENCES: Final = 512
USUAL: Final = 8
"""Usual transactions among the golden inputs; the others are edges."""


def release(trained: Trained, version: str) -> Release:
    """Export a trained categorizer and collect its proofs.

    Parameters
    ----------
    trained : Trained
    version : str
        Such as ``1.0``.
    """
    count = len(trained.labels)
    contract = Contract(
        model=MODEL,
        version=version,
        family="budget",
        task="classification",
        inputs=(
            Tensor(
                "indices", "int64", ("batch", "features"), unit="rows of the table: n-grams, facts of amount and day"
            ),
            Tensor("weights", "float32", ("batch", "features"), unit="how much each row counts", missing="0"),
        ),
        outputs=(Tensor("probabilities", "float32", ("batch", count), unit="probability"),),
        labels=trained.labels,
        thresholds=trained.thresholds,
        limits={"label": 200},
    )
    golden = _edges(trained.unseen.select(np.arange(min(USUAL, len(trained.unseen)))))
    reference = trained.unseen.select(np.arange(min(REFERENCES, len(trained.unseen))))
    return Release(
        contract=contract,
        handler="handlers.budget:BudgetCategorizerHandler",
        onnx=finished(graph(trained)),
        cases=(*(_case(f"transaction_{at}", trained, golden.select(np.array([at]))) for at in range(len(golden))),
               _case("padded_batch", trained, golden)),
        evaluation=(_case("unseen_users", trained, trained.unseen),),
        tolerance=TABULAR_TOLERANCE,
        decide=lambda outputs: _decided(outputs, trained.thresholds["model"]),
        example=example(trained),
        reference=_reference(trained, reference),
        provenance=provenance(trained),
        serving=served(256),
        family_data={
            "rules": [as_mapping(rule) for rule in trained.rules.rules],
            "merchants": [asdict(profile) for profile in trained.profiles],
            "scaling": asdict(trained.bagger.scaling),
            "mode": trained.mode,
        },
    )  # fmt: skip


def graph(trained: Trained) -> Graph:
    """Return the graph of a trained categorizer: a weighted sum of a table's rows, and trees where those won."""
    estimator, calibration, count = trained.estimator, trained.calibration, len(trained.labels)
    if isinstance(estimator, LinearBag):
        table = np.zeros((len(estimator.table_), count), np.float64)
        bias = np.full(count, NEVER)
        table[:, estimator.classes_], bias[estimator.classes_] = estimator.table_, estimator.bias_
        return linear_bag(
            trained.bagger.table(table * calibration.slope), bias * calibration.slope + calibration.intercept
        )
    first = linear_bag(*_stacked_table(trained, estimator), "Identity")
    return chained(first, _calibrated_trees(estimator, trained))


def _stacked_table(trained: Trained, estimator: StackedTrees) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    table, bias = passed_on(estimator.table_, estimator.bias_)
    return trained.bagger.table(table), bias


def _calibrated_trees(estimator: StackedTrees, trained: Trained) -> Graph:
    """Return the trees, and what makes their probabilities the logits that were calibrated."""
    slope, intercept, count = trained.calibration.slope, trained.calibration.intercept, len(trained.labels)
    seen = len(estimator.classes_)
    places = np.zeros((seen, count), np.float32)
    places[np.arange(seen), estimator.classes_] = 1
    unseen = np.where(places.any(axis=0), 0.0, NEVER) * slope + intercept
    constants = {
        "least": np.array(LEAST, np.float32),
        "places": (places * slope).astype(np.float32),
        "base": unseen.astype(np.float32),
    }
    nodes = [
        helper.make_node("Max", ["features", "least"], ["held"]),
        helper.make_node("Log", ["held"], ["logs"]),
        helper.make_node("MatMul", ["logs", "places"], ["logits"]),
        helper.make_node("Add", ["logits", "base"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["probabilities"], axis=-1),
    ]
    tail = helper.make_model(
        helper.make_graph(
            nodes,
            "calibrated",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", seen])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", count])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())],
        ir_version=10,
    )
    width = seen + FACT_COUNT
    link: Link = "Identity" if estimator.kind == "forest" else "Softmax"
    return chained(vote([Voter(trees_of(estimator.model_), link)], width), tail)


def example(trained: Trained) -> dict[str, Any]:
    """Return a held-out transaction as a client sends it."""
    row = trained.unseen_frame.iloc[0]
    return {"label": str(row["label"]), "amount": float(row["amount"]), "date": str(row["date"].date()), "top_k": 3}


def _edges(usual: Bank) -> Bank:
    """Return usual transactions and the edges: empty and endless labels, no amount, vast ones, first and last days."""
    edges = (
        ("", -1.0, "2024-02-29"),
        ("CHEQUE 1234567", -80.0, "1900-01-01"),
        ("é" * 200, 0.0, "2199-12-31"),
        ("CB " + "ABCDEFGH " * 21, -1e9, "2024-01-01"),
        ("VIR " + "mot " * 40, 1e9, "2024-12-31"),
        ("\U0001f600 \u00bd \ufdfa", 0.01, "2000-06-15"),
    )
    labels, amounts, days = zip(*edges, strict=True)
    more = parsed(labels)
    return Bank(
        Parsed(np.concatenate([usual.parsed.operations, more.operations]), [*usual.parsed.texts, *more.texts]),
        np.concatenate([usual.amounts, amounts]),
        np.concatenate([usual.days, np.array(days, "datetime64[D]").astype(np.int64)]),
        np.concatenate([usual.users, np.full(len(edges), "somebody new")]),
        np.concatenate([usual.accounts, np.full(len(edges), "")]),
    )


def _case(name: str, trained: Trained, bank: Bank) -> Case:
    indices, weights = bag(bank.parsed, bank.amounts, bank.days, trained.bagger.scaling, bank.owners)
    answers = trained.probabilities(bank).astype(np.float32)
    return Case(name, {"indices": indices, "weights": weights}, {"probabilities": answers})


def _decided(outputs: Arrays, sure: float) -> npt.NDArray[Any]:
    """Return what a probability decides: the category, and whether the model is sure of it."""
    probabilities = outputs["probabilities"]
    decided: npt.NDArray[Any] = probabilities.argmax(axis=1) * 2 + (probabilities.max(axis=1) >= sure)
    return decided


def _reference(trained: Trained, bank: Bank) -> Arrays:
    """Return distributions at training time, each of shape (transactions,)."""
    probabilities = trained.probabilities(bank)
    return {
        "confidence": probabilities.max(axis=1).astype(np.float32),
        "predicted": probabilities.argmax(axis=1).astype(np.int64),
        "label": trained.unseen_labels[: len(bank)],
        "amount": bank.amounts.astype(np.float32),
        "operation": bank.parsed.operations,
        "words": np.array([len(text.split()) for text in bank.parsed.texts], np.int64),
    }

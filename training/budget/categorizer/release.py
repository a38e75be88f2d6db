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
from models.budget.categorizer_summary import SUMMARY, summarise
from models.budget.labels import LONGEST_LABEL, Parsed, parsed
from models.budget.plausibility import POSSIBLE, USUAL
from models.budget.rules import as_mapping
from training.budget.categorizer.estimators import FACT_COUNT, NEVER, LinearBag, StackedTrees, passed_on
from training.budget.categorizer.fit import LEAST
from training.budget.categorizer.recipe import MODEL, Trained
from training.budget.categorizer.vectorizer import Transactions
from training.data.splits import MOST_REFERENCES
from training.export.onnx_graph import OPSETS, Graph, chained, finished, linear_bag
from training.export.tree_graph import Link, Voter, vote
from training.export.trees import trees_of
from training.packaging.archive import TABULAR_TOLERANCE, Release, columns_of, configure_serving
from training.packaging.model_card import IntendedUse
from training.packaging.provenance import provenance

SHOWN: Final = 8
"""Usual transactions among the golden inputs; the others are edges."""


INTENDED_USE: Final = IntendedUse(
    purpose=(
        "Says what a transaction of a household was for, from the bank's label, amount and day: for budgets that the "
        "household itself reads and corrects."
    ),
    not_for=(
        "Judging people: no credit scores, eligibility, taxes or fraud. It was made for labels as French banks write "
        "them. Answers whose source is `fallback` are guesses. What can be told by earlier payments alone "
        "(subscriptions, rent to a person, cheques) it does not see."
    ),
)


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
        limits={"label": LONGEST_LABEL},
        possible=POSSIBLE,
        usual=USUAL,
        summary=SUMMARY,
    )
    golden = _edges(trained.unseen.select(np.arange(min(SHOWN, len(trained.unseen)))))
    reference = trained.unseen.select(np.arange(min(MOST_REFERENCES, len(trained.unseen))))
    return Release(
        contract=contract,
        handler="handlers.budget.categorizer:BudgetCategorizerHandler",
        onnx=finished(graph(trained)),
        cases=(*(_case(f"transaction_{at}", trained, golden.select(np.array([at]))) for at in range(len(golden))),
               _case("padded_batch", trained, golden)),
        evaluation=(_case("unseen_users", trained, trained.unseen),),
        tolerance=TABULAR_TOLERANCE,
        decide=lambda outputs: _decided(outputs, trained.thresholds["model"]),
        example=example(trained),
        reference=_reference(trained, reference),
        provenance=provenance(trained),
        intended_use=INTENDED_USE,
        serving=configure_serving(256),
        family_data={
            "rules": [as_mapping(rule) for rule in trained.rules.rules],
            "merchants": [asdict(profile) for profile in trained.profiles],
            "scaling": asdict(trained.vectorizer.scaling),
            "words": trained.words.to_text(),
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
            trained.vectorizer.table(table * calibration.slope), bias * calibration.slope + calibration.intercept
        )
    first = linear_bag(*_stack_table(trained, estimator), "Identity")
    return chained(first, _calibrate_trees(estimator, trained))


def _stack_table(trained: Trained, estimator: StackedTrees) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    table, bias = passed_on(estimator.table_, estimator.bias_)
    return trained.vectorizer.table(table), bias


def _calibrate_trees(estimator: StackedTrees, trained: Trained) -> Graph:
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


def _edges(usual: Transactions) -> Transactions:
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
    return Transactions(
        Parsed(np.concatenate([usual.parsed.operations, more.operations]), [*usual.parsed.texts, *more.texts]),
        np.concatenate([usual.amounts, amounts]),
        np.concatenate([usual.days, np.array(days, "datetime64[D]").astype(np.int64)]),
        np.concatenate([usual.users, np.full(len(edges), "a new user")]),
        np.concatenate([usual.accounts, np.full(len(edges), "")]),
    )


def _case(name: str, trained: Trained, bank: Transactions) -> Case:
    indices, weights = bag(bank.parsed, bank.amounts, bank.days, trained.vectorizer.scaling, bank.owners)
    answers = trained.probabilities(bank).astype(np.float32)
    return Case(name, {"indices": indices, "weights": weights}, {"probabilities": answers})


def _decided(outputs: Arrays, sure: float) -> npt.NDArray[Any]:
    """Return what a probability decides: the category, and whether the model is sure of it."""
    probabilities = outputs["probabilities"]
    decided: npt.NDArray[Any] = probabilities.argmax(axis=1) * 2 + (probabilities.max(axis=1) >= sure)
    return decided


def _reference(trained: Trained, bank: Transactions) -> Arrays:
    """Return what drift is measured on: what was answered of transactions that the evaluated fit has not seen.

    Returns
    -------
    dict of ndarray, each of shape (transactions,)
        ``confidence`` of the answer, which is a rule's or the model's, ``predicted`` and true ``label``; and of the
        transactions what `models.budget.categorizer_summary.SUMMARY` names.
    """
    decided = trained.decide(bank, trained.unseen_probabilities[: len(bank)])
    return {
        "confidence": decided.probabilities.astype(np.float32),
        "predicted": decided.labels,
        "label": trained.unseen_labels[: len(bank)],
        **columns_of(SUMMARY, summarise(bank.parsed, bank.amounts, trained.words)),
    }

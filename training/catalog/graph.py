"""A fitted classifier as one ONNX graph, from a bag of n-grams to probabilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from training.catalog.estimators import LinearScores
from training.catalog.fit import Classifier
from training.export.onnx_graph import OPSETS, Graph, chained, linear_bag
from training.export.tree_graph import Voter, vote


def graph(classifier: Classifier) -> Graph:
    """Return a graph that takes ``indices`` and ``weights`` [batch, ngrams] and gives ``probabilities``.

    The calibration is in it: of a linear model in its weights, of trees in their leaves.
    """
    estimator, calibration = classifier.estimator, classifier.calibration
    order = [classifier.labels.index(code) for code in estimator.classes_.tolist()]
    slope, intercept = calibration.slope[order], calibration.intercept[order]
    # The estimator's codes are in another order than the labels, which are sorted by number.
    position = np.argsort(order)
    if isinstance(estimator, LinearScores):
        table = (estimator.table_.astype(np.float64) * slope)[:, position]
        return linear_bag(table, (estimator.bias_ * slope + intercept)[position])
    trees = estimator.trees_
    place = np.asarray(order)
    scaled = replace(
        trees,
        value=trees.value * slope[trees.target],
        target=place[trees.target],
        base=(trees.base * slope + intercept)[position],
    )
    return chained(projection(estimator.table_), vote([Voter(scaled, "Softmax")], estimator.table_.shape[1]))


def projection(table: npt.NDArray[np.float32]) -> Graph:
    """Return a graph that sums up the rows of a table in double precision: ``projected`` float32 [batch, columns]."""
    nodes: list[Any] = [
        helper.make_node("Gather", ["table", "indices"], ["rows"], axis=0),
        helper.make_node("Cast", ["rows"], ["wide_rows"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["weights"], ["wide_weights"], to=TensorProto.DOUBLE),
        helper.make_node("Unsqueeze", ["wide_weights", "one"], ["weighted"]),
        helper.make_node("MatMul", ["weighted", "wide_rows"], ["summed"]),
        helper.make_node("Squeeze", ["summed", "one"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["projected"], to=TensorProto.FLOAT),
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "marina",
            [
                helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch", "ngrams"]),
                helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "ngrams"]),
            ],
            [helper.make_tensor_value_info("projected", TensorProto.FLOAT, ["batch", table.shape[1]])],
            [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1], np.int64), "one")],
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())],
        ir_version=10,
    )

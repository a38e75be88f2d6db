"""The models of code health as ONNX: what was transformed, filled in or voted on in training is in the graph.

Trees fitted to signed logarithms become trees on the features as they are: ``sign(x) ln(1 + |x|)`` keeps the order, so
a threshold on the one side is a threshold on the other. A median that filled in missing values becomes the side on
which missing values go. Neither costs the graph a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, compose, helper, numpy_helper

from training.code_health.estimators import DropUnseen, SignedLog, signed_log
from training.code_health.voting import Member, VotingEnsemble
from training.export.onnx_graph import FEATURES, OPSETS, Graph, chained, graph_of, select_columns, side_by_side
from training.export.tree_graph import Voter, vote
from training.export.trees import LEAF, Trees, trees_of


def member_graph(member: Member, width: int) -> Graph:
    """Return a member's graph on ``features`` float32 [batch, width].

    Parameters
    ----------
    member
        Its answer is ``probabilities`` [batch, 2], ``score`` [batch, 1] or ``value`` [batch, 1].
    width
        How many features it reads.
    """
    if hasattr(member.estimator, "predict_proba"):
        return vote(voters(member.estimator), width, calibration=member.calibration, both_classes=True)
    if hasattr(member.estimator, "score_samples"):
        return vote(voters(member.estimator), width, output="score")
    first, rest = member.estimator[0], member.estimator[1:]
    between = _piece([("Clip", [FEATURES, "low", "high"], "value", {})], "value", 1, 1, low=0.0, high=1.0)
    return chained(chained(_signed_log_graph(first), graph_of(rest, width)), between)


def ensemble_graph(ensemble: VotingEnsemble, width: int) -> Graph:
    """Return the graph of all members and their vote: ``probabilities`` [batch, 2] and ``members`` [batch, members]."""
    names = [member.model for member in ensemble.members]
    graphs = [
        select_columns(member_graph(member, len(its)), its.tolist(), width)
        for member, its in zip(ensemble.members, ensemble.columns, strict=True)
    ]
    together = side_by_side(dict(zip(names, graphs, strict=True)))
    inputs, nodes, answers = [], [], []
    for name, graph in zip(names, graphs, strict=True):
        columns = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        inputs.append(helper.make_tensor_value_info(f"{name}_answer", TensorProto.FLOAT, ["batch", columns]))
        answers.append(f"{name}_answer")
        if columns == 2:  # of a classifier, the second class
            answers[-1] = f"{name}_second"
            nodes.append(helper.make_node("Gather", [f"{name}_answer", "second"], [answers[-1]], axis=1))
    nodes += [
        helper.make_node("Concat", answers, ["members"], axis=1),
        helper.make_node("Mul", ["members", "slope"], ["steeper"]),
        helper.make_node("Add", ["steeper", "intercept"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["votes"]),
        helper.make_node("MatMul", ["votes", "weights"], ["mean"]),
        helper.make_node("Sub", ["one", "mean"], ["rest"]),
        helper.make_node("Concat", ["rest", "mean"], ["probabilities"], axis=1),
    ]
    constants = {
        "slope": ensemble.slope,
        "intercept": ensemble.intercept,
        "weights": ensemble.weights[:, None],
        "one": 1,
    }
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "second"))
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("members", TensorProto.FLOAT, ["batch", len(names)]),
    ]
    head = _model(nodes, inputs, outputs, tensors)
    joined: Graph = compose.merge_models(together, head, io_map=[(name, f"{name}_answer") for name in names])
    return joined


def voters(estimator: Any) -> list[Voter]:
    """Take an estimator made of trees apart into ensembles on features as they are.

    Parameters
    ----------
    estimator
        A soft vote, a forest, boosting, an isolation forest, or one behind `SignedLog`, `DropUnseen` or an imputer
        of medians.
    """
    if hasattr(estimator, "weights") and hasattr(estimator, "estimators_"):
        parts = zip(estimator.estimators_, estimator.weights, strict=True)
        return [replace(one, weight=float(weight)) for part, weight in parts for one in voters(part)]
    if hasattr(estimator, "steps"):
        first, final = estimator[0], estimator[-1]
        [inner] = voters(final)
        if isinstance(first, DropUnseen):  # no tree looks at what was never there
            return [inner]
        trees = _undo_signed_log(inner.trees) if isinstance(first, SignedLog) else _fill(inner.trees, first.statistics_)
        return [replace(inner, trees=trees)]
    if hasattr(estimator, "score_samples"):
        return [Voter(trees_of(estimator), "Halving")]
    forest = type(estimator).__name__.startswith(("RandomForest", "ExtraTrees"))
    return [Voter(trees_of(estimator), "Identity" if forest else "Sigmoid")]


def _undo_signed_log(trees: Trees) -> Trees:
    """Return trees that were fitted to signed logarithms of features as trees on the features themselves."""
    threshold = trees.threshold.astype(np.float64)
    with np.errstate(over="ignore"):
        raw = (np.sign(threshold) * np.expm1(np.abs(threshold))).astype(np.float32)
    down, up = np.float32(-np.inf), np.float32(np.inf)
    for _ in range(64):  # to the very last number that is on the left side
        above = signed_log(raw) > trees.threshold
        raw = np.where(above, np.nextafter(raw, down), raw)
        higher = np.nextafter(raw, up)
        below = ~above & (signed_log(higher) <= trees.threshold)
        raw = np.where(below, higher, raw)
        if not (above | below).any():
            break
    return replace(trees, threshold=np.where(trees.feature == LEAF, np.float32(0), raw))


def _fill(trees: Trees, medians: npt.NDArray[Any]) -> Trees:
    """Return trees that were fitted to rows without missing values as trees that know where missing ones belong."""
    usual = medians.astype(np.float32)[np.maximum(trees.feature, 0)]
    return replace(trees, missing_left=usual <= trees.threshold)


def _signed_log_graph(step: SignedLog) -> Graph:
    """Return `SignedLog` with its medians as a graph."""
    width = len(step.medians_)
    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("IsNaN", [FEATURES], "gone", {}),
        ("Where", ["gone", "medians", FEATURES], "filled", {}),
        ("Sign", ["filled"], "sign", {}),
        ("Abs", ["filled"], "size", {}),
        ("Add", ["size", "one"], "more", {}),
        ("Log", ["more"], "short", {}),
        ("Mul", ["sign", "short"], "signed_log", {}),
    ]
    return _piece(nodes, "signed_log", width, width, medians=step.medians_, one=1.0)


def _piece(
    nodes: Sequence[tuple[str, list[str], str, dict[str, Any]]], output: str, width: int, columns: int, **constants: Any
) -> Graph:
    return _model(
        [helper.make_node(operator, inputs, [name], **more) for operator, inputs, name, more in nodes],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", columns])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )


def _model(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], constants: Sequence[Any]) -> Graph:
    return helper.make_model(
        helper.make_graph(list(nodes), "marina", list(inputs), list(outputs), list(constants)),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())],
        ir_version=10,
    )

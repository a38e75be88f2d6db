"""Sums of trees to ONNX: every tree of every estimator in one operator per kind of ensemble.

A model of 16 forests and 16 boosted ensembles, 3,200 trees, becomes two ``TreeEnsembleRegressor`` nodes of 16 targets
and a few elementwise nodes, where converting each estimator alone would make 32 such nodes and what joins them. One
row then costs a walk through the trees and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from training.calibration import LEAST_PROBABILITY, Nesting, PlattScaling
from training.export.onnx_graph import FEATURES, OPSETS, Graph
from training.export.trees import LEAF, Trees

Link = Literal["Identity", "Sigmoid", "Softmax", "Halving"]
"""What turns a sum into an answer; halving is ``2 ** -x``, an isolation forest's."""


@dataclass(frozen=True)
class Voter:
    """One kind of ensemble in a vote: its trees, what their sums mean, and how much its answer counts."""

    trees: Trees
    link: Link = "Identity"
    weight: float = 1.0


def vote(
    voters: Sequence[Voter],
    width: int,
    *,
    output: str = "probabilities",
    calibration: PlattScaling | None = None,
    nesting: Nesting | None = None,
    both_classes: bool = False,
    spread: bool = False,
) -> Graph:
    """Return the weighted mean of several ensembles' answers as a graph on ``features`` float32 [batch, width].

    Parameters
    ----------
    voters
        At least one; all with as many targets.
    width
        How many features they read.
    output
        Name of the output, float32 [batch, targets].
    calibration
        Applied to the mean, where the targets are probabilities.
    nesting
        Applied to what is calibrated, where some targets' events include others'.
    both_classes
        Of one target, P(second class): whether the output is [batch, 2], both classes.
    spread
        Whether there is a second output, ``spread`` [batch, targets]: how far apart the voters are, from 0 to 1.

    Raises
    ------
    ValueError
        If the voters differ in their targets, or there is none.
    """
    targets = {voter.trees.targets for voter in voters}
    if len(targets) != 1:
        raise ValueError(f"expected voters with as many targets each, got {sorted(targets)}")
    build = _Builder()
    answers = [build.answer(voter, index) for index, voter in enumerate(voters)]
    total = sum(voter.weight for voter in voters)
    weighted = [build.scaled(name, voter.weight / total) for name, voter in zip(answers, voters, strict=True)]
    mean = weighted[0] if len(weighted) == 1 else build.node("Sum", weighted)
    if calibration is not None:
        mean = build.calibrated(mean, calibration)
    if nesting is not None:
        mean = build.nested(mean, nesting)
    if both_classes:
        mean = build.node("Concat", [build.node("Sub", [build.constant(1.0), mean]), mean], axis=1)
    build.node("Identity", [mean], output)
    columns = 2 if both_classes else targets.pop()
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", columns])]
    if spread:
        build.node("Sub", [build.node("Max", answers), build.node("Min", answers)], "spread")
        outputs.append(helper.make_tensor_value_info("spread", TensorProto.FLOAT, ["batch", columns]))
    inputs = [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", width])]
    return helper.make_model(
        helper.make_graph(build.nodes, "marina", inputs, outputs, build.constants),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())],
        ir_version=10,
    )


def tree_node(trees: Trees, output: str) -> Any:
    """Return the operator that adds up all trees: from ``features`` to `output` float32 [batch, targets]."""
    sizes = np.diff([*trees.roots, len(trees.feature)])
    tree = np.repeat(np.arange(len(trees.roots)), sizes)
    start = np.repeat(trees.roots, sizes)
    inner = trees.feature != LEAF
    return helper.make_node(
        "TreeEnsembleRegressor",
        [FEATURES],
        [output],
        name=output,
        domain="ai.onnx.ml",
        n_targets=trees.targets,
        base_values=trees.base.astype(np.float32),
        nodes_treeids=tree,
        nodes_nodeids=np.arange(len(tree)) - start,
        nodes_featureids=np.where(inner, trees.feature, 0),
        nodes_values=trees.threshold,
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        nodes_truenodeids=np.where(inner, trees.left - start, 0),
        nodes_falsenodeids=np.where(inner, trees.right - start, 0),
        nodes_missing_value_tracks_true=(inner & trees.missing_left).astype(np.int64),
        target_treeids=tree[trees.leaf],
        target_nodeids=trees.leaf - start[trees.leaf],
        target_ids=trees.target,
        target_weights=trees.value.astype(np.float32),
    )


class _Builder:
    """Nodes and constants of one graph, with names that follow from their order."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def scaled(self, name: str, factor: float) -> str:
        return name if factor == 1.0 else self.node("Mul", [name, self.constant(factor)])

    def answer(self, voter: Voter, index: int) -> str:
        self.nodes.append(tree_node(voter.trees, f"trees_{index}"))
        name = f"trees_{index}"
        if voter.link == "Softmax":
            return self.node("Softmax", [name], axis=-1)
        if voter.link == "Halving":
            return self.node("Exp", [self.node("Mul", [name, self.constant(-np.log(2.0))])])
        return name if voter.link == "Identity" else self.node(voter.link, [name])

    def calibrated(self, name: str, calibration: PlattScaling) -> str:
        held = self.node(
            "Clip", [name, self.constant(LEAST_PROBABILITY), self.constant(1 - LEAST_PROBABILITY)]
        )  # a forest does say 0 and 1
        rest = self.node("Sub", [self.constant(1.0), held])
        odds = self.node("Sub", [self.node("Log", [held]), self.node("Log", [rest])])
        steeper = self.node("Mul", [odds, self.constant(calibration.slope)])
        return self.node("Sigmoid", [self.node("Add", [steeper, self.constant(calibration.intercept)])])

    def nested(self, name: str, nesting: Nesting) -> str:
        total, means = name, [name]
        for length, following in enumerate(nesting.following, 2):
            further = self.node("Gather", [name, self.constant(following, np.int64)], axis=1)
            total = self.node("Add", [total, further])
            means.append(self.scaled(total, 1 / length))
        chosen = self.node(
            "Gather", [self.node("Concat", means, axis=1), self.constant(nesting.choice, np.int64)], axis=1
        )
        least = self.node("ReduceMin", [chosen, self.constant([3], np.int64)], keepdims=0)
        return self.node("ReduceMax", [least, self.constant([2], np.int64)], keepdims=0)

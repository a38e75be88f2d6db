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

from training.forests import LEAF, Trees
from training.graphs import FEATURES, OPSETS, Graph

Link = Literal["Identity", "Sigmoid", "Softmax", "Halving"]
"""What turns a sum into an answer; halving is ``2 ** -x``, an isolation forest's."""

LEAST_PROBABILITY = 1e-3
"""Probabilities are held this far from 0 and 1 before they are calibrated: a log-odds has to be finite."""


@dataclass(frozen=True)
class Voter:
    """One kind of ensemble in a vote: its trees, what their sums mean, and how much its answer counts."""

    trees: Trees
    link: Link = "Identity"
    weight: float = 1.0


@dataclass(frozen=True)
class Calibration:
    """Per target, the logistic curve that a probability's log-odds is put through (Platt, 1999).

    Attributes
    ----------
    slope, intercept
        float [targets]: the calibrated log-odds is ``slope * log-odds + intercept``.
    """

    slope: npt.NDArray[np.float64]
    intercept: npt.NDArray[np.float64]

    def __call__(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Calibrate probabilities [N, targets]."""
        raised = log_odds(probabilities) * self.slope + self.intercept
        calibrated: npt.NDArray[np.float64] = 1 / (1 + np.exp(-raised))
        return calibrated


def log_odds(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the log-odds that a `Calibration` reads, of probabilities held away from 0 and 1."""
    held = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    odds: npt.NDArray[np.float64] = np.log(held / (1 - held))
    return odds


def vote(
    voters: Sequence[Voter],
    width: int,
    *,
    output: str = "probabilities",
    calibration: Calibration | None = None,
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

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
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

    def calibrated(self, name: str, calibration: Calibration) -> str:
        held = self.node(
            "Clip", [name, self.constant(LEAST_PROBABILITY), self.constant(1 - LEAST_PROBABILITY)]
        )  # a forest does say 0 and 1
        rest = self.node("Sub", [self.constant(1.0), held])
        odds = self.node("Sub", [self.node("Log", [held]), self.node("Log", [rest])])
        steeper = self.node("Mul", [odds, self.constant(calibration.slope)])
        return self.node("Sigmoid", [self.node("Add", [steeper, self.constant(calibration.intercept)])])

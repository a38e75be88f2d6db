"""Estimators to ONNX: whatever serves is one graph, made of pieces that are put together here.

A piece takes ``features`` (float32 [batch, width]; or, for hashed text, ``indices`` and ``weights``) and gives one
output: ``probabilities`` [batch, classes] of a classifier, ``value`` [batch, outputs] of a regressor. Pieces are
chained, put side by side, or made to read some columns only; `finished` checks the result and strips it of everything
that names a clock or a machine: equal estimators give equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

Graph: TypeAlias = Any  # onnx.ModelProto, whose package has no types
OPSET = 18
OPSETS = {"": OPSET, "ai.onnx.ml": 3}
FEATURES = "features"


def graph_of(estimator: Any, width: int) -> Graph:
    """Convert a fitted estimator of scikit-learn; trees become faster graphs by `training.export.tree_graph.vote`.

    Parameters
    ----------
    estimator
        Or a pipeline or a soft vote of such. Votes need ``flatten_transform=False``.
    width
        How many features it reads.

    Raises
    ------
    ValueError
        If it is neither a classifier nor a regressor.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.base import is_classifier, is_regressor

    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise ValueError(f"expected a classifier or a regressor, got {type(estimator).__name__}")
    options = {"zipmap": False} if is_classifier(estimator) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter's own deprecations
        graph: Graph = convert_sklearn(
            estimator, initial_types=[(FEATURES, FloatTensorType([None, width]))], target_opset=OPSETS, options=options
        )
    if is_classifier(estimator):
        return _only(graph, graph.graph.output[1].name, "probabilities")
    return _only(graph, graph.graph.output[0].name, "value")


def linear_bag(table: npt.NDArray[Any], bias: npt.NDArray[Any], activation: str = "Softmax") -> Graph:
    """Return a linear model on hashed text: a weighted sum over the rows of a table that a text names.

    Parameters
    ----------
    table
        float [buckets, outputs]: what each n-gram's bucket adds.
    bias
        float [outputs].
    activation
        ``Softmax`` or ``Sigmoid`` for ``probabilities``, ``Identity`` for ``value``.

    Returns
    -------
    Graph
        Takes ``indices`` int64 [batch, ngrams] and ``weights`` float32 [batch, ngrams]. A text costs as many rows of
        the table as it has n-grams, however large the table is.
    """
    outputs = table.shape[1]
    out = "value" if activation == "Identity" else "probabilities"
    nodes = [
        helper.make_node("Gather", ["table", "indices"], ["rows"], axis=0),  # [batch, ngrams, outputs]
        helper.make_node("Unsqueeze", ["weights", "one"], ["weighted"]),  # [batch, 1, ngrams]
        helper.make_node("MatMul", ["weighted", "rows"], ["summed"]),  # [batch, 1, outputs]
        helper.make_node("Squeeze", ["summed", "one"], ["sums"]),
        helper.make_node("Add", ["sums", "bias"], ["raw"]),
        helper.make_node(activation, ["raw"], [out], **({"axis": -1} if activation == "Softmax" else {})),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "table": table.astype(np.float32),
        "bias": bias.astype(np.float32),
        "one": np.array([1], np.int64),
    }
    return _model(
        nodes,
        [
            helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch", "ngrams"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "ngrams"]),
        ],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch", outputs])],
        constants,
    )


def select_columns(graph: Graph, columns: Sequence[int], width: int) -> Graph:
    """Return a graph that reads only some columns of wider ``features``.

    Parameters
    ----------
    graph
        Reads ``features`` [batch, len(columns)].
    columns
        Positions among the wider ones, in the graph's order.
    width
        How many there are in all.
    """
    gather = _model(
        [helper.make_node("Gather", [FEATURES, "columns"], ["chosen"], axis=1)],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["batch", len(columns)])],
        {"columns": np.array(columns, np.int64)},
    )
    return chained(gather, graph)


def chained(first: Graph, second: Graph) -> Graph:
    """Return the graph that gives the first one's only output to the second as ``features``."""
    before, after = _prefix(first, "before_", inputs=False), _prefix(second, "after_", inputs=True)
    [source], [target] = before.graph.output, after.graph.input
    joined = compose.merge_models(before, after, io_map=[(source.name, target.name)])
    return _rename(joined, {output.name: output.name.removeprefix("after_") for output in joined.graph.output})


def side_by_side(graphs: Mapping[str, Graph]) -> Graph:
    """Return one graph that gives the only output of each of several, under its name, all reading the same inputs."""
    nodes: list[Any] = []
    constants: list[Any] = []
    inputs: dict[str, Any] = {}
    outputs: list[Any] = []
    for name, graph in graphs.items():
        mine = _prefix(graph, f"{name}_", inputs=False)
        [output] = mine.graph.output
        mine = _rename(mine, {output.name: name})
        nodes += mine.graph.node
        constants += mine.graph.initializer
        inputs |= {one.name: one for one in mine.graph.input}
        outputs += mine.graph.output
    return _model(nodes, list(inputs.values()), outputs, constants)


def finished(graph: Graph) -> bytes:
    """Check a graph and return its bytes, the batch axis named, nothing of this machine in them.

    Raises
    ------
    onnx.checker.ValidationError
        If it is not a valid graph.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for value in (*copy.graph.input, *copy.graph.output):
        value.type.tensor_type.shape.dim[0].ClearField("dim_value")
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    copy.graph.name = "marina"
    copy.producer_name = copy.producer_version = copy.domain = ""
    copy.model_version = 0
    strip(copy)
    onnx.checker.check_model(copy, full_check=True)
    content: bytes = copy.SerializeToString(deterministic=True)
    return content


def _only(graph: Graph, name: str, called: str) -> Graph:
    """Keep one output, and no node that only others need."""
    needed, kept = {name}, []
    for node in reversed(graph.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    [output] = [one for one in graph.graph.output if one.name == name]
    constants = [one for one in graph.graph.initializer if one.name in needed]
    return _rename(_model(kept[::-1], list(graph.graph.input), [output], constants), {name: called})


def _model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, npt.NDArray[Any]] | Sequence[Any],
) -> Graph:
    tensors = (
        [numpy_helper.from_array(array, name) for name, array in constants.items()]
        if isinstance(constants, Mapping)
        else list(constants)
    )
    return helper.make_model(
        helper.make_graph(list(nodes), "marina", list(inputs), list(outputs), tensors),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in sorted(OPSETS.items())],
        ir_version=10,
    )


def _prefix(graph: Graph, prefix: str, *, inputs: bool) -> Graph:
    """Return the graph with every name but, if so asked, its inputs' made its own."""
    model: Graph = compose.add_prefix(
        graph, prefix, rename_inputs=inputs, rename_outputs=True, rename_edges=True, rename_nodes=True
    )
    made = model.graph
    return _model(list(made.node), list(made.input), list(made.output), list(made.initializer))


def _rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with values renamed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for node in copy.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.initializer):
        value.name = names.get(value.name, value.name)
    return copy


def strip(graph: Any) -> None:
    """Drop stack traces and the like: they name files of this machine."""
    del graph.metadata_props[:]
    graph.doc_string = ""
    for part in (graph.graph, *graph.functions):
        del part.metadata_props[:]
        part.doc_string = ""
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""

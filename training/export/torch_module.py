"""A trained torch module to the ONNX graph that an archive carries.

It is stripped of everything that names the machine it was made on: equal weights give equal bytes.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from training.export.onnx_graph import OPSET, strip


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> bytes:
    """Export a module in eval mode.

    Parameters
    ----------
    module : nn.Module
        Takes `inputs` positionally, in order.
    inputs : mapping of str to Tensor
        Example inputs, at least 2 long on every dynamic axis.
    outputs : sequence of str
        Names of the outputs, in order.
    dynamic : mapping of str to mapping of int to str
        For each input, the names of its dynamic axes, such as ``{"landmarks": {0: "batch", 1: "time"}}``.

    Returns
    -------
    bytes
        The ONNX graph.
    """
    axes = {axis: torch.export.Dim(axis, min=1) for shape in dynamic.values() for axis in shape.values()}
    shapes = tuple({index: axes[axis] for index, axis in dynamic.get(name, {}).items()} for name in inputs)
    with warnings.catch_warnings():
        # The exporter warns about its own internals (deprecated pytree names); nothing a user could act on.
        warnings.simplefilter("ignore")
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
        return _onnx(program, list(inputs), list(outputs), dynamic)


def _onnx(
    program: torch.export.ExportedProgram,
    inputs: list[str],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, input_names=inputs, output_names=outputs, verbose=False
    )
    assert exported is not None  # the dynamo exporter always returns a program
    graph = exported.model_proto
    _rename_axes(graph, dynamic)
    strip(graph)
    onnx.checker.check_model(graph, full_check=True)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _rename_axes(graph: Any, dynamic: Mapping[str, Mapping[int, str]]) -> None:
    """Give the dynamic axes of the inputs their contract's names; the exporter numbers them."""
    for value in graph.graph.input:
        for index, axis in dynamic.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[index].dim_param = axis

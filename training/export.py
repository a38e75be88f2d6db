"""A trained torch module to the two graphs an archive carries: ONNX, and a `torch.export` program as its fallback.

Both come from one `torch.export` trace, so they cannot differ in what they compute, and both are stripped of
everything that names the machine they were made on: equal weights give equal bytes.
"""

import io
import logging
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from archives.certificate import zip_entry

OPSET = 18


def export_module(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> tuple[bytes, bytes]:
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
    onnx, program : bytes
        The ONNX graph, and the `.pt2` program without anything pickled in it.
    """
    axes = {axis: torch.export.Dim(axis, min=1) for shape in dynamic.values() for axis in shape.values()}
    shapes = tuple({index: axes[axis] for index, axis in dynamic.get(name, {}).items()} for name in inputs)
    with warnings.catch_warnings():
        # The exporter warns about its own internals (deprecated pytree names); nothing a user could act on.
        warnings.simplefilter("ignore")
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
        return _onnx(program, list(inputs), list(outputs), dynamic), _program(program)


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


def _program(program: torch.export.ExportedProgram) -> bytes:
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    saved = io.BytesIO()
    torch.export.save(program, saved)
    stripped = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(stripped, "w") as target:
        for name in sorted(source.namelist()):
            # torch.save pickles the example inputs; an empty member is read back as "none" without unpickling.
            content = b"" if name.endswith(".pt") else source.read(name)
            target.writestr(zip_entry(name), content)
    return stripped.getvalue()

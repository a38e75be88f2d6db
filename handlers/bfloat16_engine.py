"""A graph in bfloat16: OpenVINO, on processors that multiply bfloat16 in hardware.

A bfloat16 product is twice as fast as a float32 one and keeps eight significant bits, enough for what a trained layer
sees and too few for what comes before it: two coordinates that agree in their leading bits have no difference left. So
everything up to the first product stays float32 (Micikevicius et al., 2018, keep such parts likewise). OpenVINO
computes what lies between an output and the nearest product in float32; the tensors that enter the first products are
therefore made outputs, which no one asks for. Sums within products, norms and softmax are float32 in its kernels.

Whether this may serve is in an archive's certificate, and the golden inputs are replayed in it, as in any engine.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archives.certificate import Arrays
from archives.contract import Contract

PRODUCTS = frozenset({"MatMul", "Convolution"})

KEPT = 200
"""Kernels kept for shapes met before. OpenVINO's own limit of 5,000 lets a worker grow by 4 MiB per new shape."""


class UnsupportedError(Exception):
    """bfloat16 cannot be had on this machine; the message says what it lacks."""


class ReducedEngine:
    """A graph in OpenVINO, products in bfloat16; takes and gives what `OnnxEngine` does.

    Parameters
    ----------
    path : Path
        The `.onnx` file.
    contract : Contract
        Whose inputs and outputs the graph has.
    threads : int
        How many it may compute with.

    Raises
    ------
    UnsupportedError
        If OpenVINO is not installed, or the processor has no instructions for bfloat16.
    """

    def __init__(self, path: Path, contract: Contract, threads: int) -> None:
        # OpenVINO's conversion tool reports each import to its makers; without the tool nothing is sent.
        sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
        try:
            import openvino
        except ImportError as error:
            raise UnsupportedError(f"OpenVINO is not installed ({error})") from error
        core = openvino.Core()
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UnsupportedError("the processor has no instructions for bfloat16 (AVX-512 BF16 or AMX)")
        graph = core.read_model(path)
        graph.add_outputs(_before_products(graph))
        constants = _constants_as_inputs(graph)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # two workers would be pinned to one core
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT,
        }
        self._request = core.compile_model(graph, "CPU", settings).create_infer_request()
        for name, values in constants.items():
            self._request.set_tensor(name, openvino.Tensor(values))
        self._inputs = [one.name for one in contract.inputs]
        self._outputs = [one.name for one in contract.outputs]
        self.name = f"openvino {openvino.get_version().partition('-')[0]} CPU bfloat16"

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute every output for a batch of inputs."""
        self._request.infer({name: np.ascontiguousarray(inputs[name]) for name in self._inputs})
        return {name: self._request.get_tensor(name).data.copy() for name in self._outputs}


def _before_products(graph: Any) -> list[Any]:
    """Return the float tensors of variable shape that are computed without any product, where products begin."""
    after: set[str] = set()
    found = {}
    for node in graph.get_ordered_ops():
        sources = [port.get_source_output() for port in node.inputs()]
        names = [source.get_node().get_friendly_name() for source in sources]
        if node.get_type_name() not in PRODUCTS and not after.intersection(names):
            continue
        after.add(node.get_friendly_name())
        for name, source in zip(names, sources, strict=True):
            computed = name not in after and source.get_node().get_type_name() != "Parameter"
            if computed and source.get_element_type().is_real() and source.get_partial_shape().is_dynamic:
                found[name, source.get_index()] = source
    return list(found.values())


def _constants_as_inputs(graph: Any) -> dict[str, NDArray[np.float32]]:
    """Make inputs of the constants on the left of products, and return them by name.

    OpenVINO leaves a constant left factor in float32, and the product with it: for the sums over landmarks that is a
    tenth of SignFlow's time.
    """
    from openvino import opset13

    constants = {}
    parameters: list[Any] = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.input_value(0).get_node().get_type_name() != "Constant":
            continue
        left = node.input_value(0).get_node()
        name = f"constant {len(parameters)}"
        parameter = opset13.parameter(list(left.get_output_shape(0)), np.float32, name=name)
        parameter.output(0).get_tensor().set_names({name})
        node.input(0).replace_source_output(parameter.output(0))
        constants[name] = left.get_data().copy()
        parameters.append(parameter)
    graph.add_parameters(parameters)
    graph.validate_nodes_and_infer_types()
    return constants

"""Every way there is of running SignFlow's graph on a CPU core, for `benchmarks/engines.py` to compare."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archives.certificate import Arrays
from archives.contract import Contract
from handlers.bfloat16_engine import ReducedEngine
from handlers.engine import OnnxEngine
from models.signflow.network import SignFlow

Logits = NDArray[np.float32]
Run = Callable[[Arrays], Logits]


@dataclass(frozen=True)
class Graph:
    """What every variant starts from: the trained network, and its export."""

    model: SignFlow
    path: Path
    contract: Contract


def onnx_runtime(graph: Graph, path: Path | None = None) -> Run:
    """ONNX Runtime with all its optimisations, which is the default."""
    engine = OnnxEngine(path or graph.path, graph.contract, None)
    return lambda inputs: engine.run(inputs)["logits"]


def onnx_fused(graph: Graph) -> Run:
    """ONNX Runtime, after its fusion of transformers (it does not know our attention from its parts)."""
    from onnxruntime.transformers.optimizer import optimize_model

    config = graph.model.config
    fused = optimize_model(str(graph.path), "bert", num_heads=config.heads, hidden_size=config.d_model, opt_level=0)
    path = graph.path.with_name("fused.onnx")
    fused.save_model_to_file(str(path))
    print(
        "fused into one node each:",
        {kind: count for kind, count in fused.get_fused_operator_statistics().items() if count},
    )
    return onnx_runtime(graph, path)


def onnx_int8(graph: Graph) -> Run:
    """ONNX Runtime, weights in int8 and activations quantised as they come."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    usual = onnx.load(graph.path)
    del usual.graph.value_info[:]  # shapes of tensors that it is about to change
    path = graph.path.with_name("int8.onnx")
    quantize_dynamic(usual, path, weight_type=QuantType.QInt8, per_channel=True)
    return onnx_runtime(graph, path)


def openvino_plain(graph: Graph, precision: str) -> Run:
    """OpenVINO, all of the graph in one precision."""
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]  # as handlers.bfloat16_engine does
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    settings["ENABLE_CPU_PINNING"] = False
    request = openvino.Core().compile_model(graph.path, "CPU", settings).create_infer_request()
    return lambda inputs: np.array(request.infer(dict(inputs))["logits"])


def reduced(graph: Graph) -> Run:
    """Run what serves: OpenVINO in bfloat16, after the features."""
    engine = ReducedEngine(graph.path, graph.contract, 1)
    return lambda inputs: engine.run(inputs)["logits"]


def torch_eager(graph: Graph, bfloat16: bool, forward: Any = None) -> Run:
    """PyTorch as in training; products in bfloat16 by autocast."""
    forward = graph.model if forward is None else forward

    def run(inputs: Arrays) -> Logits:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits: Logits = (
                forward(*(torch.from_numpy(inputs[one.name]) for one in graph.contract.inputs)).float().numpy()
            )
        return logits

    return run


def torch_compiled(graph: Graph, bfloat16: bool) -> Run:
    """PyTorch with generated C++, compiled on this machine for this machine, again for every shape."""
    import torch._inductor.config

    torch._inductor.config.freezing = True  # weights packed once, as the other engines do
    return torch_eager(graph, bfloat16, torch.compile(graph.model, dynamic=False))


USUAL = "ONNX Runtime float32"
VARIANTS: dict[str, Callable[[Graph], Run]] = {
    USUAL: onnx_runtime,
    "ONNX Runtime float32, norms and GELU fused": onnx_fused,
    "ONNX Runtime int8, dynamic": onnx_int8,
    "OpenVINO float32": functools.partial(openvino_plain, precision="f32"),
    "OpenVINO bfloat16 throughout": functools.partial(openvino_plain, precision="bf16"),
    "OpenVINO bfloat16 after the features (serves)": reduced,
    "torch eager float32": functools.partial(torch_eager, bfloat16=False),
    "torch eager bfloat16": functools.partial(torch_eager, bfloat16=True),
    "torch.compile float32": functools.partial(torch_compiled, bfloat16=False),
    "torch.compile bfloat16": functools.partial(torch_compiled, bfloat16=True),
}

"""Compare the ways of running SignFlow's graph on a CPU core: how fast, and at what cost in accuracy.

    python -m benchmarks.engines --size large --data recordings/common_signs.npz
    python -m benchmarks.engines --size large --clips 0 --seconds 20      # the speeds again, on a quiet machine

Trains the network on generated or recorded clips (or takes it from the folder, where it is kept), exports it as a
release does, and runs it on one core in every engine there is: sequences per second of processor time, best of many
passes taken in turns; accuracy on people it has not seen; the largest gap to the trained network's logits and
probabilities; and the share of what a large matrix product reaches on the same core. Prints the table and draws it.
Measurements are kept in a file: accuracy and speed can be taken at different times.
"""

import argparse
import functools
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: one core

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from archives.certificate import Arrays
from archives.contract import read_contract
from archives.store import unpack
from benchmarks.engine_variants import USUAL, VARIANTS, Graph, Logits, Run, torch_eager
from benchmarks.host import describe_machine
from handlers.bfloat16_engine import UnsupportedError
from marina.settings import read_settings
from models.probabilities import softmax
from models.signflow.excerpt import excerpt
from models.signflow.network import SIZES, SignFlow
from models.signflow.sequences import pad
from training.data.manifest import SYNTHETIC
from training.family import Fits
from training.signflow.clips import Clips
from training.signflow.embedding_space import space_of
from training.signflow.experiments import harness
from training.signflow.fit import probabilities
from training.signflow.recipe import Trained, golden
from training.signflow.release import release

FRAMES = 64
BATCHES = (1, 8, 32)


def peaks() -> dict[str, float]:
    """Return the best rate of a large matrix product on this core in FLOP/s, by precision, by the best library."""
    from onnx import TensorProto, helper

    size = 1024
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "abc"]
    product = helper.make_model(
        helper.make_graph(nodes, "product", ends[:2], ends[2:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(product.SerializeToString(), options, ["CPUExecutionProvider"])
    square = np.random.default_rng(0).random((size, size), np.float32)
    usual, half = torch.from_numpy(square), torch.from_numpy(square).bfloat16()
    flops = 2 * size**3
    return {
        "float32": flops
        / min(best(lambda: session.run(None, {"a": square, "b": square})), best(lambda: usual @ usual)),
        "bfloat16": flops / best(lambda: half @ half),
    }


def best(call: Callable[[], Any], passes: int = 15) -> float:
    """Return the processor seconds of the quickest of some passes."""
    call()
    taken = []
    for _ in range(passes):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return min(taken)


def speeds(runs: dict[str, Run], seconds: float) -> dict[str, dict[str, float]]:
    """Return sequences per processor second of every variant by batch size, the variants taking turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in runs}
    for batch in BATCHES:
        rng = np.random.default_rng(batch)
        landmarks = rng.uniform(0.2, 0.8, (batch, FRAMES, 225)).astype(np.float32)
        inputs: Arrays = {"landmarks": landmarks, "lengths": np.full(batch, FRAMES, np.int64)}
        quickest = {name: float("inf") for name in runs}
        end = time.monotonic() + seconds * len(runs) / len(BATCHES)
        while time.monotonic() < end or float("inf") in quickest.values():
            for name, run in runs.items():
                quickest[name] = min(quickest[name], best(functools.partial(run, inputs), 2))
        for name, taken in quickest.items():
            found[name][str(batch)] = batch / taken
    return found


def answers(run: Run, clips: Clips) -> Logits:
    """Return the logits of clips, sixteen of like length at a time, in the clips' order."""
    order = np.argsort(clips.lengths, kind="stable")
    rows = []
    for part in np.array_split(order, max(1, len(order) // 16)):
        landmarks, lengths = pad([excerpt(clips.sequences[index]) for index in part])
        rows.append(run({"landmarks": landmarks, "lengths": lengths}))
    return np.concatenate(rows)[np.argsort(order)]


def judged(found: Logits, usual: Logits, labels: NDArray[np.int64]) -> dict[str, float]:
    return {
        "accuracy": float((found.argmax(1) == labels).mean()),
        "otherwise": float((found.argmax(1) != usual.argmax(1)).mean()),
        "logits": float(np.abs(found - usual).max()),
        "probabilities": float(np.abs(softmax(found) - softmax(usual)).max()),
    }


def table(kept: dict[str, Any]) -> list[str]:
    """Return the table in Markdown."""
    head = ["variant", *(f"seq/s, batch {batch}" for batch in BATCHES), "of peak", "accuracy", "decided otherwise"]
    lines = ["| " + " | ".join([*head, "gap, logits", "gap, probabilities"]) + " |", "|---" * (len(head) + 2) + "|"]
    for name, one in kept["variants"].items():
        cells = [f"{one[str(batch)]:.0f}" if str(batch) in one else "" for batch in BATCHES]
        precision = next((kind for kind in ("float32", "bfloat16") if kind in name), None)
        share = max((one[str(batch)] for batch in BATCHES if str(batch) in one), default=0) * kept.get("flops", 0)
        cells.append(f"{share / kept['peaks'][precision]:.0%}" if precision and share and "peaks" in kept else "")
        if "accuracy" in one:
            cells += [f"{one['accuracy']:.4f}", f"{one['otherwise']:.2%}", f"{one['logits']:.2g}"]
            cells.append(f"{one['probabilities']:.2g}")
        else:
            cells += [""] * 4
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def draw(kept: dict[str, Any], title: str, path: Path) -> None:
    """Draw each variant's best rate, and what its decisions cost."""
    from matplotlib.figure import Figure

    shown = {name: one for name, one in kept["variants"].items() if str(BATCHES[0]) in one}
    figure = Figure(figsize=(9, 1 + 0.42 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, (name, one) in enumerate(shown.items()):
        rate = max(one[str(batch)] for batch in BATCHES)
        axes.barh(row, rate, color="tab:blue" if "serves" in name or name == USUAL else "tab:gray")
        caption = f" {rate:.0f}" + (f", {one['otherwise']:.1%} decided otherwise" if "otherwise" in one else "")
        axes.text(rate, row, caption, va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), list(shown))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.6 * max(max(one[str(batch)] for batch in BATCHES) for one in shown.values()))
    axes.set_xlabel(f"sequences of {FRAMES} frames per second of one core, at the best batch size")
    axes.set_title(title)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=SYNTHETIC, metavar="PATH", help='.npz, or "synthetic" (default)')
    parser.add_argument("--size", choices=SIZES, default="large", help="default: %(default)s")
    parser.add_argument("--shown", type=int, default=8000, help="clips shown in training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of training, and whom it tests on (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=512, help="held-out clips answered; 0: speed only")
    parser.add_argument("--seconds", type=float, default=10, help="per variant; 0: accuracy only")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="only this one (repeatable)")
    parser.add_argument("--archive", type=Path, help="made of that network: its graph is run, and no other exported")
    parser.add_argument(
        "--out", type=Path, default=read_settings().state_dir / "experiments", help="default: %(default)s"
    )
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    torch.set_num_threads(1)
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="torch")
    data = harness.load(options.data)
    train, test = data.unseen(options.seed)
    how = harness.recipe(data, train, options.seed, options.shown, options.size)
    model = harness.trained(data, options.seed, how, options.out / "weights")
    held_out = test.select(np.random.default_rng(options.seed).permutation(len(test))[: options.clips])
    file = options.out / f"engines-{data.name}-{options.size}.json"
    kept = json.loads(file.read_text()) if file.exists() else {"variants": {}}
    with tempfile.TemporaryDirectory(prefix="marina-engines-") as folder:
        graph = exported(model, train, test, Path(folder), options.archive)
        runs = {}
        for name in options.variant or VARIANTS:
            try:
                runs[name] = VARIANTS[name](graph)
            except (UnsupportedError, ImportError) as error:
                console.print(f"{name}: {error}")
        if options.clips:
            usual = answers(torch_eager(graph, False), held_out)
            for name, run in runs.items():
                if "compile" in name:  # again for every shape, to compute what eager does
                    continue
                one = judged(answers(run, held_out), usual, held_out.labels)
                kept["variants"].setdefault(name, {}).update(one)
                console.print(f"{name}: {one}")
        if options.seconds:
            kept |= {"flops": flops(model), "peaks": peaks()}
            for name, rates in speeds(runs, options.seconds).items():
                kept["variants"].setdefault(name, {}).update(rates)
    kept["variants"] = {name: kept["variants"][name] for name in VARIANTS if name in kept["variants"]}
    file.write_text(json.dumps(kept, indent=2))
    console.print("\n".join(table(kept)), markup=False)
    if "peaks" in kept:
        console.print(
            f"{kept['flops'] / 1e9:.2f} GFLOP per sequence; peak "
            + ", ".join(f"{kind} {rate / 1e9:.0f} GFLOP/s" for kind, rate in kept["peaks"].items())
            + f"; on {describe_machine()}"
        )
        draw(kept, f"SignFlow {options.size}, trained on {data.name}", file.with_suffix(".png"))
        console.print(f"results {file}, picture {file.with_suffix('.png')}")
    return 0


def exported(model: SignFlow, train: Clips, test: Clips, folder: Path, archive: Path | None) -> Graph:
    """Export a network as its release does, or take the graph of an archive that was made of it."""
    if archive:
        unpack(archive, folder)
        return Graph(model, folder / "model.onnx", read_contract(folder / "contract.json"))
    few = list(test.sequences[:16])
    trained = Trained(
        model, model.config, train.signs, golden(test), few, test.labels[:16], probabilities(model, few),
        space_of(model, train), fits=Fits(evaluated="", shipped=""),
        metrics={}, params={}, data_manifest_sha256="", mlflow_run_id="",
    )  # fmt: skip
    made = release(trained, "1.0")
    (folder / "model.onnx").write_bytes(made.onnx)
    return Graph(model, folder / "model.onnx", made.contract)


def flops(model: SignFlow) -> int:
    """Return how many floating-point operations the products of one sequence are."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, FRAMES, 225), torch.tensor([FRAMES]))
    return int(counter.get_total_flops())


if __name__ == "__main__":
    sys.exit(main())

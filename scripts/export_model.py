"""Write a model's ONNX graph to a file, from a SignFlow checkpoint or from the archive of any model.

    python scripts/export_model.py --model-path .marina/checkpoints/signflow-1a2b-3c4d.safetensors --output model.onnx
    python scripts/export_model.py --model-path archives/store/catalog-1.0.mar --output model.onnx

A checkpoint holds the state of a training that was interrupted; a finished training is in its archive, whose graph is
written as it serves. To release a model, build its archive instead: scripts/train.py.
"""

import argparse
import sys
from pathlib import Path

from archives.archive import open_archive
from archives.errors import MarinaError
from marina.processes.console import show


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model-path", type=Path, required=True, metavar="FILE", help="a checkpoint (.safetensors) or archive (.mar)"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the graph to write, .onnx")
    options = parser.parse_args(argv)
    try:
        graph = _graph(options.model_path)
        options.output.write_bytes(graph)
    except (MarinaError, OSError) as error:
        show(error, sys.stderr)
        return 1
    show(f"written: {options.output}, {len(graph) / 1e6:.1f} MB")
    return 0


def _graph(path: Path) -> bytes:
    if path.suffix == ".mar":
        return bytes(open_archive(path).members["model.onnx"])
    from training.signflow.release import export_checkpoint  # torch takes seconds that an archive need not wait for

    return export_checkpoint(path)


if __name__ == "__main__":
    sys.exit(main())

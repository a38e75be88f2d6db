import numpy as np
import pytest

from benchmarks.engine_variants import VARIANTS, Graph, torch_eager
from benchmarks.engines import answers, judged, table
from handlers.bfloat16_engine import UnsupportedError
from models.signflow.excerpt import excerpt
from tests.families.signflow import frames_of, made_up, releases
from training.signflow.clips import Clips

LENGTHS = (5, 30, 3, 64, 90, 30)
QUICK = [name for name in VARIANTS if "compile" not in name]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    release = releases()["signflow"]
    path = tmp_path_factory.mktemp("engines") / "model.onnx"
    path.write_bytes(release.onnx)
    return Graph(made_up().model, path, release.contract)


def clips() -> Clips:
    sequences = tuple(frames_of(length, seed=length) for length in LENGTHS)
    signs = tuple(f"sign_{number:02d}" for number in range(32))
    return Clips(sequences, np.arange(len(sequences)), signs, np.array(["one"] * len(sequences)))


@pytest.mark.parametrize("name", QUICK)
def test_every_variant_computes_the_trained_network(graph: Graph, name: str) -> None:
    try:
        run = VARIANTS[name](graph)
    except UnsupportedError as error:
        pytest.skip(str(error))
    usual = answers(torch_eager(graph, False), clips())
    gap = judged(answers(run, clips()), usual, clips().labels)["logits"]
    # bfloat16 throughout rounds coordinates away, and int8 is coarse: the ladder shows how much
    allowed = 1.0 if "throughout" in name or "int8" in name else 1e-4 if "float32" in name else 0.1
    assert gap <= allowed


def test_answers_come_in_the_clips_order(graph: Graph) -> None:
    run = torch_eager(graph, False)
    shown = [excerpt(frames) for frames in clips().sequences]
    alone = [run({"landmarks": one[None], "lengths": np.array([len(one)])})[0] for one in shown]
    np.testing.assert_allclose(answers(run, clips()), alone, atol=1e-4)


def test_the_table_leaves_open_what_was_not_measured() -> None:
    kept = {
        "variants": {"torch eager float32": {"1": 10.0, "8": 20.0, "32": 15.0}},
        "flops": 1e9,
        "peaks": {"float32": 1e11},
    }
    assert table(kept)[-1] == "| torch eager float32 | 10 | 20 | 15 | 20% |  |  |  |  |"

"""A person's own takes, embeddings and p-values, in the handler."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest

from archives.certificate import write_npz
from archives.store import unpack
from handlers.decoding import JSON, NPY
from handlers.signflow import SignFlowHandler
from handlers.spool import Sampling, Spool
from models.signflow.excerpt import excerpt
from models.signflow.personal import MOST_TAKES
from models.signflow.sequences import pad
from tests.archives.rewrite import members_of, write
from tests.bad_requests import npy
from tests.families.signflow import frames_of
from tests.handlers.context import Context

SIGN = "sign_07"


class Loaded(SignFlowHandler):
    folder: Path


def load(archive: Path, folder: Path) -> Loaded:
    unpack(archive, folder)
    loaded = Loaded()
    loaded.initialize(Context(folder))
    loaded.folder = folder
    return loaded


@pytest.fixture(scope="module")
def handler(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(signflow_archive, tmp_path_factory.mktemp("unpacked"))


def ask(handler: Loaded, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    if isinstance(body, np.ndarray):
        sent, kind = npy(body), NPY
    else:
        sent, kind = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), JSON
    context = Context(handler.folder, [{"Content-Type": kind, **headers}])
    [answer] = handler.handle([{"body": bytearray(sent)}], context)
    return context.statuses[0], json.loads(answer)


def embedded(handler: Loaded, frames: np.ndarray) -> dict[str, Any]:
    """Return a sequence's embedding as an answer has it."""
    status, answer = ask(handler, {"frames": frames, "embedding": True})
    assert status == 200
    embedding: dict[str, Any] = answer["embedding"]
    return embedding


def own(handler: Loaded, frames: np.ndarray, sign: str = SIGN) -> dict[str, Any]:
    """Return what a request brings of one take."""
    embedding = embedded(handler, frames)
    return {"prototypes": {sign: [embedding["vector"]]}, "calibration_of": embedding["calibration_of"]}


def test_the_embedding_is_the_graphs_and_names_the_graph(handler: Loaded) -> None:
    frames = frames_of(30)
    landmarks, lengths = pad([excerpt(frames)])
    [vector] = handler.engine.run({"landmarks": landmarks, "lengths": lengths})["embedding"]
    sent = embedded(handler, frames)
    assert sent["vector"] == pytest.approx(vector.tolist(), abs=1e-5)
    certified = json.loads((handler.folder / "certificate.json").read_text())["sha256"]
    assert sent["calibration_of"] == certified["model.onnx"]


def test_an_array_asks_for_its_embedding_by_a_header(handler: Loaded) -> None:
    frames = frames_of(21)
    (_, asked), (_, plain) = ask(handler, frames, **{"X-Embedding": "true"}), ask(handler, frames)
    assert asked["embedding"] == embedded(handler, frames)
    assert "embedding" not in plain and plain["predictions"] == asked["predictions"]


def test_instances_get_an_embedding_each(handler: Loaded) -> None:
    frames = [frames_of(length, seed=length) for length in (9, 40)]
    body = {"instances": [{"frames": frames[0]}, {"frames": []}, {"frames": frames[1]}], "partial": True}
    _, answer = ask(handler, {**body, "embedding": True})
    assert answer["embedding"][1] is None and answer["p_value"][1] is None
    for place, one in ((0, frames[0]), (2, frames[1])):
        vector = answer["embedding"][place]["vector"]
        assert vector == pytest.approx(embedded(handler, one)["vector"], abs=1e-5)


def test_a_take_of_ones_own_is_recognised_and_probabilities_sum_to_one(handler: Loaded) -> None:
    frames = frames_of(30)
    _, before = ask(handler, {"frames": frames, "top_k": 1})
    assert before["predictions"][0]["label"] != SIGN
    status, after = ask(handler, {"frames": frames, "top_k": 32, **own(handler, frames)})
    assert status == 200
    assert after["predictions"][0]["label"] == SIGN
    assert sum(one["probability"] for one in after["predictions"]) == pytest.approx(1)
    assert after["p_value"] == before["p_value"]


def test_takes_count_for_all_instances_and_for_no_other_request(handler: Loaded) -> None:
    frames = frames_of(30)
    bodies = [{"instances": [{"frames": frames}] * 2, **own(handler, frames)}, {"frames": frames}]
    context = Context(handler.folder, [{"Content-Type": JSON}] * 2)
    sent = [{"body": orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)} for body in bodies]
    mine, other = (json.loads(answer) for answer in handler.handle(sent, context))
    assert [one[0]["label"] for one in mine["predictions"]] == [SIGN, SIGN]
    assert other["predictions"][0]["label"] != SIGN


def test_takes_and_views_go_together(handler: Loaded) -> None:
    frames = frames_of(30)
    status, answer = ask(handler, {"frames": frames, "tta": True, **own(handler, frames)})
    assert (status, answer["predictions"][0]["label"]) == (200, SIGN)


VECTOR = [0.5] * 128


@pytest.mark.parametrize(
    ("prototypes", "field", "expected"),
    [
        ([VECTOR], "prototypes", "an object of signs"),
        ({"unheard": [VECTOR]}, "prototypes.unheard", "32 signs"),
        ({SIGN: VECTOR}, f"prototypes.{SIGN}", f"1 to {MOST_TAKES} embeddings"),
        ({SIGN: []}, f"prototypes.{SIGN}", f"1 to {MOST_TAKES} embeddings"),
        ({SIGN: [VECTOR] * (MOST_TAKES + 1)}, f"prototypes.{SIGN}", f"1 to {MOST_TAKES} embeddings"),
        ({SIGN: [VECTOR, VECTOR[1:]]}, f"prototypes.{SIGN}[1]", "128 numbers"),
        ({SIGN: [VECTOR, [*VECTOR[1:], "0.5"]]}, f"prototypes.{SIGN}[1][127]", "a number"),
        ({SIGN: [[None, *VECTOR[1:]]]}, f"prototypes.{SIGN}[0][0]", "a number"),
        ({SIGN: [[1e300, *VECTOR[1:]]]}, f"prototypes.{SIGN}[0][0]", "a number"),
    ],
)
def test_takes_that_cannot_be_are_refused_by_their_place(
    handler: Loaded, prototypes: Any, field: str, expected: str
) -> None:
    origin = handler._fingerprint
    status, answer = ask(handler, {"frames": frames_of(9), "prototypes": prototypes, "calibration_of": origin})
    assert (status, answer["error"]["field"]) == (422, field)
    assert expected in answer["error"]["message"]


def test_takes_that_say_not_whose_they_are_are_refused(handler: Loaded) -> None:
    status, answer = ask(handler, {"frames": frames_of(9), "prototypes": {SIGN: [VECTOR]}})
    assert (status, answer["error"]["field"]) == (422, "calibration_of")


def test_takes_of_another_version_are_refused_with_409(handler: Loaded) -> None:
    sent = {**own(handler, frames_of(9)), "calibration_of": "ab" * 32}
    status, answer = ask(handler, {"instances": [{"frames": frames_of(9)}], "partial": True, **sent})
    assert (status, answer["error"]["code"]) == (409, "other_version")
    assert "calibrate again" in answer["error"]["message"]


def test_what_is_unlike_the_training_is_flagged_and_not_altered(
    handler: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = frames_of(30)
    _, usual = ask(handler, frames)
    assert handler._space is not None and usual["p_value"] > 0.01 and usual["unusual"] is False
    strict = replace(handler._space, reference=np.linspace(-1, -0.5, 500))  # all of training was nearer
    monkeypatch.setattr(handler, "_space", strict)
    _, answer = ask(handler, {"instances": [{"frames": frames}, {"frames": frames}]})
    assert answer["p_value"] == pytest.approx([1 / 501] * 2, abs=1e-6) and answer["unusual"] == [True, True]
    assert answer["confident"] == [False, False]
    assert [one["field"] for one in answer["warnings"]] == ["instances[0].frames", "instances[1].frames"]
    assert "unlike the sequences" in answer["warnings"][0]["message"]
    assert [one["label"] for one in answer["predictions"][0]] == [one["label"] for one in usual["predictions"]]
    assert answer["predictions"][0][0]["probability"] == pytest.approx(usual["predictions"][0]["probability"], abs=1e-6)


@pytest.mark.parametrize(("right", "confident"), [(0, False), (1, False), (100, True)])
def test_an_answer_is_confident_where_such_were_right_for_people_of_the_evaluation(
    tmp_path: Path, handler: Loaded, monkeypatch: pytest.MonkeyPatch, right: int, confident: bool
) -> None:
    """Of a hundred clips of the evaluation some were right, and as probable as this answer; the others are less so."""
    likeliest = ask(handler, frames_of(30))[1]["predictions"][0]["probability"]
    was_right = np.arange(100) < right
    for name in ("family.json", "certificate.json"):
        shutil.copy(handler.folder / name, tmp_path)
    reference = {"confidence": np.where(was_right, likeliest - 0.001, likeliest / 2), "label": np.zeros(100, np.int64)}
    (tmp_path / "reference.npz").write_bytes(write_npz({**reference, "predicted": np.where(was_right, 0, 1)}))
    monkeypatch.setattr(handler, "_confident_from", handler._confident_from)  # and so it is set back
    handler.opened(tmp_path)
    assert ask(handler, frames_of(30))[1]["confident"] is confident
    handler._confident_from += 0.002
    assert not ask(handler, frames_of(30))[1]["confident"]


@pytest.fixture
def logging(handler: Loaded, tmp_path: Path) -> Iterator[Path]:
    """A folder to which the handler logs every answer, with its input."""
    handler._spool = Spool(tmp_path, "signflow", "1.0", Sampling(input_share=1.0), 1 << 28)
    yield tmp_path
    handler._spool = None


def test_the_log_keeps_the_answer_and_not_the_takes(handler: Loaded, logging: Path) -> None:
    frames = frames_of(12)
    mine = own(handler, frames)  # asks for an embedding, and is logged as ever
    ask(handler, {"frames": frames, **mine})
    lines = [json.loads(line) for path in logging.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    assert [one["answer"]["predictions"][0]["label"] == SIGN for one in lines] == [False, True]
    assert ["input" in one for one in lines] == [True, False]


@pytest.fixture(scope="module")
def before(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The handler of an archive as they were before there were embeddings."""
    members = members_of(signflow_archive)
    del members["family.json"]
    graph = onnx.load_from_string(members["model.onnx"])
    del graph.graph.output[1]
    contract = json.loads(members["contract.json"])
    del contract["outputs"][1]
    with np.load(io.BytesIO(members["certificate.npz"])) as cases:
        golden = {name: cases[name] for name in cases.files if not name.endswith("/out/embedding")}
    members |= {
        "model.onnx": graph.SerializeToString(),
        "contract.json": json.dumps(contract).encode(),
        "certificate.npz": write_npz(golden),
    }
    certificate = json.loads(members.pop("certificate.json"))
    certificate["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    members["certificate.json"] = json.dumps(certificate).encode()
    folder = tmp_path_factory.mktemp("before")
    return load(write(members, folder / "signflow-1.0.mar"), folder / "unpacked")


def test_an_archive_without_embeddings_answers_as_before(before: Loaded, handler: Loaded) -> None:
    frames = frames_of(30)
    (status, old), (_, new) = ask(before, {"frames": frames}), ask(handler, {"frames": frames})
    assert status == 200 and not {"p_value", "unusual", "confident", "embedding"} & set(old)
    assert [one["label"] for one in old["predictions"]] == [one["label"] for one in new["predictions"]]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"embedding": True}, "embedding"),
        ({"prototypes": {SIGN: [VECTOR]}, "calibration_of": "ab" * 32}, "prototypes"),
        ({"calibration_of": "ab" * 32}, "calibration_of"),
    ],
)
def test_an_archive_without_embeddings_refuses_takes(before: Loaded, sent: dict[str, Any], field: str) -> None:
    status, answer = ask(before, {"frames": frames_of(9), **sent})
    assert (status, answer["error"]["code"], answer["error"]["field"]) == (409, "other_version", field)
    assert "train and release the model again" in answer["error"]["message"]

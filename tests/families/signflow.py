"""Good and bad SignFlow requests, for every test that sends some."""

import functools
import json
import struct
from typing import Any

import numpy as np
import torch

from handlers.wire import NPY
from models.signflow.landmarks import LANDMARKS, WIDTH
from models.signflow.network import SignFlow, configure
from tests.requests import Bad, bad_anywhere, npy, sent
from training.archive import Release
from training.signflow import Trained
from training.signflow_release import release

MODELS = ("signflow",)


def made_up(size: str = "small") -> Trained:
    """Return a network as training would hand it over; its weights are random, which no test of the path minds."""
    torch.manual_seed(0)
    config = configure(size, 32)
    golden = [frames_of(length, seed=length) for length in (1, 2, 30, 64, 64, 90, 200)]
    golden[2][:, 99:162] = 0  # a missing left hand
    golden[3][5:9] = np.nan  # lost frames
    return Trained(
        model=SignFlow(config).eval(),
        config=config,
        labels=tuple(f"sign_{index:02d}" for index in range(32)),
        golden=golden,
        reference=golden,
        reference_labels=np.arange(len(golden)),
        metrics={"accuracy": 0.03},
        params={"size": size},
        data_manifest_sha256="0" * 64,
        mlflow_run_id="none",
    )


@functools.cache
def releases() -> dict[str, Release]:
    """Return what the tiny model of every test is released as."""
    return {"signflow": release(made_up(), "1.0")}


def good(model: str) -> list[dict[str, Any]]:
    """Return request bodies that the model answers, all different."""
    return [{"frames": frames_of(length, seed=length).astype(float).round(6).tolist()} for length in (3, 30, 64)]


def bad(model: str) -> dict[str, Bad]:
    """Return every kind of bad request, by name."""
    return bad_requests()


def frames_of(length: int, seed: int = 0) -> np.ndarray:
    """Return a plausible sequence, float32 [length, 225]."""
    return np.random.default_rng(seed).normal(0.5, 0.2, (length, WIDTH)).astype(np.float32)


def bad_requests() -> dict[str, Bad]:
    """Return every kind of bad request, by name."""
    frames = frames_of(3).tolist()
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 225), }"

    def array(body: bytes, status: int, field: str = "") -> Bad:
        return Bad(body, status, field, NPY)

    def changed(value: object, frame: int = 1, column: int = 7) -> list[list[object]]:
        copy: list[list[object]] = [list(one) for one in frames]
        copy[frame][column] = value
        return copy

    def written(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
        return b"\x93NUMPY" + version + struct.pack("<H", len(header) + 1) + header + b"\n" + data

    cube = np.array(frames).reshape(3, LANDMARKS, 3).tolist()
    far, infinite, missing = frames_of(3), frames_of(3), np.full((3, WIDTH), np.nan, np.float32)
    far[2, 5], infinite[1, 9] = 1e30, np.inf
    return bad_anywhere({"frames": frames}) | {
        "no frames": sent({}, field="frames"),
        "a misspelt field": sent({"frame": frames}, field="frame"),
        "frames null": sent({"frames": None}, field="frames"),
        "frames a string": sent({"frames": "abc"}, field="frames"),
        "frames a number": sent({"frames": 3}, field="frames"),
        "frames an object": sent({"frames": {"0": frames[0]}}, field="frames"),
        "frames empty": sent({"frames": []}, field="frames"),
        "frames of strings": sent({"frames": ["a", "b"]}, field="frames[0]"),
        "an empty frame": sent({"frames": [[]]}, field="frames[0]"),
        "ragged frames": sent({"frames": [frames[0], frames[1][:-1]]}, field="frames[1]"),
        "224 floats": sent({"frames": [frame[:-1] for frame in frames]}, field="frames[0]"),
        "226 floats": sent({"frames": [[*frame, 0.0] for frame in frames]}, field="frames[0]"),
        "74 landmarks": sent({"frames": [frame[:-1] for frame in cube]}, field="frames[0]"),
        "pairs for triples": sent({"frames": [[point[:2] for point in frame] for frame in cube]}, field="frames[0][0]"),
        "a string among numbers": sent({"frames": changed("0.5")}, field="frames[1][7]"),
        "true among numbers": sent({"frames": changed(True)}, field="frames[1][7]"),
        "an object among numbers": sent({"frames": changed({})}, field="frames[1][7]"),
        "a list among numbers": sent({"frames": changed([1.0])}, field="frames[1][7]"),
        "1e30 among numbers": sent({"frames": changed(1e30)}, field="frames[1][7]"),
        "a 400-digit number": Bad(
            json.dumps({"frames": changed("DIGITS")}).replace('"DIGITS"', "9" * 400).encode(), 400
        ),
        "all coordinates null": sent({"frames": [[None] * WIDTH] * 2}, field="frames"),
        "100 000 frames": Bad(b'{"frames": [' + b"[0]," * 99_999 + b"[0]]}", 422, "frames"),
        "top_k header": Bad(npy(frames_of(2)), 422, "top_k", NPY, (("X-Top-K", "many"),)),
        "tta a string": sent({"frames": frames, "tta": "true"}, field="tta"),
        "tta a number": sent({"frames": frames, "tta": 1}, field="tta"),
        "tta of an instance": sent({"instances": [{"frames": frames, "tta": True}]}, field="instances[0].tta"),
        "tta header": Bad(npy(frames_of(2)), 422, "tta", NPY, (("X-TTA", "perhaps"),)),
        "a bad instance": sent({"instances": [{"frames": frames}, {"frames": []}]}, field="instances[1].frames"),
        "instances and frames": sent({"instances": [{"frames": frames}], "frames": frames}, field="frames"),
        "1000 instances": sent({"instances": [{}] * 1000}, field="instances"),
        "npy empty": array(b"", 400),
        "npy magic only": array(b"\x93NUMPY", 400),
        "npy of version 9": array(written(header, version=b"\x09\x00"), 400),
        "npy header damaged": array(written(b"{'descr': '<f4', 'fortran"), 400),
        "npy header not a dict": array(written(b"[1, 2]"), 400),
        "npy header deeply nested": array(written(b"(" * 3000 + b")" * 3000), 400),
        "npy header too long": array(written(b" " * 60_000), 400),
        "npy truncated": array(npy(frames_of(4))[:-100], 400),
        "npy with trailing bytes": array(npy(frames_of(4)) + b"x", 400),
        "npy shape larger than data": array(written(header.replace(b"2", b"99999999999")), 400),
        "npy negative shape": array(written(header.replace(b"(2,", b"(-2,")), 400),
        "npy of objects": array(
            written(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04."), 400
        ),
        "npy of int64": array(npy(np.zeros((2, WIDTH), np.int64)), 422, "body"),
        "npy of strings": array(npy(np.array(["a"])), 422, "body"),
        "npy of complex": array(npy(np.zeros((2, WIDTH), np.complex64)), 422, "body"),
        "npy scalar": array(npy(np.float32(1)), 422, "frames"),
        "npy 0 frames": array(npy(np.zeros((0, WIDTH), np.float32)), 422, "frames"),
        "npy 224 wide": array(npy(np.zeros((2, WIDTH - 1), np.float32)), 422, "frames"),
        "npy four axes": array(npy(np.zeros((1, 2, LANDMARKS, 3), np.float32)), 422, "frames"),
        "npy 100 000 frames": array(npy(np.zeros((5_000, WIDTH), np.float32)), 422, "frames"),
        "npy with infinity": array(npy(infinite), 422, "frames[1][9]"),
        "npy with 1e30": array(npy(far), 422, "frames[2][5]"),
        "npy all NaN": array(npy(missing), 422, "frames"),
        "pickle bytes as npy": array(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.", 400),
    }

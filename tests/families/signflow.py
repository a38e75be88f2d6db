"""Good and bad SignFlow requests, for every test that sends some."""

import fcntl
import functools
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from handlers.decoding import NPY
from marina.processes.files import write_atomically
from models.signflow.landmarks import LANDMARKS, WIDTH
from models.signflow.network import SignFlow, configure
from models.signflow.plausibility import measure
from tests.bad_requests import Bad, bad_anywhere, npy, sent
from training.data.splits import holdout
from training.family import Fits
from training.packaging.archive import Release
from training.signflow.embedding_space import measure as measure_space
from training.signflow.recipe import Trained
from training.signflow.release import export, release
from training.signflow.synthetic.signing import Synthesis, generate

MODELS = ("signflow",)


def made_up(size: str = "small") -> Trained:
    """Return a network as training would hand it over; its weights are random, which no test of the path minds."""
    torch.manual_seed(0)
    config = configure(size, 32)
    golden = [frames_of(length, seed=length) for length in (1, 2, 30, 64, 64, 90, 200)]
    golden[2][:, 99:162] = 0  # a missing left hand
    golden[3][5:9] = np.nan  # lost frames
    model = SignFlow(config).eval()
    clips = generate(Synthesis(signs=32, signers=2, takes=2))
    seen, unseen = holdout(clips.signers, 0.5)
    return Trained(
        model=model,
        config=config,
        labels=tuple(f"sign_{index:02d}" for index in range(32)),
        golden=golden,
        reference=golden,
        reference_labels=np.arange(len(golden)),
        reference_probabilities=np.full((len(golden), 32), 1 / 32, np.float32),
        metrics={"accuracy": 0.03},
        params={"size": size},
        data_manifest_sha256="0" * 64,
        mlflow_run_id="none",
        fits=Fits(evaluated="nothing", shipped="nothing"),
        space=measure_space(model, clips.select(seen), clips.select(unseen), clips.select(unseen).sequences),
    )


@functools.cache
def releases() -> dict[str, Release]:
    """Return what the tiny model of every test is released as."""
    with mock.patch("training.signflow.release.export", _export_once):
        return {"signflow": release(made_up(), "1.0")}


def _export_once(model: SignFlow) -> bytes:
    """Export a network in one process of a run (`SHARED_BY_TESTS`), for all of them: it takes most of a minute."""
    if not (folder := os.environ.get("SHARED_BY_TESTS")):
        return export(model)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    known = hashlib.sha256(b"".join(name.encode() + weights[name].tobytes() for name in sorted(weights)))
    path = Path(folder) / f"{known.hexdigest()}.onnx"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_atomically(path, export(model))
        return path.read_bytes()


def good(model: str) -> list[dict[str, Any]]:
    """Return request bodies that the model answers, all different."""
    return [{"frames": frames_of(length, seed=length).astype(float).round(6).tolist()} for length in (3, 30, 64)]


def bad(model: str) -> dict[str, Bad]:
    """Return every kind of bad request, by name."""
    return bad_requests()


def frames_of(length: int, seed: int = 0) -> np.ndarray:
    """Return a plausible sequence, float32 [length, 225]: a sign at that many frames, trembling in its own way."""
    signs = _signs()
    sign = signs[seed % len(signs)]
    frames = sign[np.linspace(0, len(sign) - 1, length).round().astype(int)]
    noise = np.random.default_rng(seed).normal(0, 0.02, frames.shape)
    return np.asarray(frames + noise, np.float32)


@functools.cache
def _signs() -> list[np.ndarray]:
    clips = generate(Synthesis(signs=16, signers=2, takes=1)).sequences
    whole = [frames[(frames != 0).all(1)] for frames in clips]  # all is seen
    return sorted((one for one in whole if len(one) > 9), key=_apart)[:12]  # those with hands farthest apart


def _apart(frames: np.ndarray) -> float:
    return measure(frames)["wrist_swap"]


def implausible() -> dict[str, tuple[np.ndarray, str]]:
    """Return sequences that are none, each with a part of the hint it is refused with."""
    frames = frames_of(24)
    points = frames.reshape(-1, LANDMARKS, 3)
    pose, left, right = points[:, :33], points[:, 33:54], points[:, 54:]

    def sent(*parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts, 1).reshape(len(frames), WIDTH)

    def metres(part: np.ndarray, about: np.ndarray) -> np.ndarray:
        return np.asarray((part - about) * 1.4, np.float32)

    def of_hand(hand: np.ndarray) -> np.ndarray:
        return metres(hand, hand.mean(1, keepdims=True))

    world = metres(pose, (pose[:, 23:24] + pose[:, 24:25]) / 2)
    return {
        "zeros only": (np.zeros_like(frames), "in which a signer is seen"),
        "zeros and NaN only": (np.array([[0, 0, np.nan] * LANDMARKS] * 3, np.float32), "in which a signer is seen"),
        "world landmarks": (sent(world, of_hand(left), of_hand(right)), "world landmarks"),
        "world landmarks of the pose": (sent(world, left, right), "world landmarks"),
        "world landmarks of the hands": (sent(pose, of_hand(left), of_hand(right)), "world landmarks"),
        "world landmarks without a hand": (sent(world, 0 * left, 0 * right), "world landmarks"),
        "world landmarks of hands without a pose": (sent(0 * pose, of_hand(left), of_hand(right)), "world landmarks"),
        "hands swapped": (sent(pose, right, left), "pose, right hand, left hand"),
        "one hand in the other's place": (sent(pose, right, 0 * left), "pose, right hand, left hand"),
        "hands before the pose": (sent(left, right, pose), "left hand, right hand, pose"),
        "pose between the hands": (sent(left, pose, right), "left hand, pose, right hand"),
        "axes one after the other": (points.swapaxes(1, 2).reshape(frames.shape).copy(), "all x, then all y"),
        "pixels": (np.array([1280, 720, 1280] * LANDMARKS, np.float32) * frames, "pixels or percentages"),
        "pixels of a small picture": (np.array([64, 48, 64] * LANDMARKS, np.float32) * frames, "pixels or percentages"),
        "percentages": (100 * frames, "pixels or percentages"),
        "pixels of the pose only": (sent(640 * pose, left, right), "pixels or percentages"),
    }


def unusual() -> dict[str, tuple[np.ndarray, str]]:
    """Return sequences that are answered with a warning, each with a part of it."""
    frames = frames_of(24)
    upside_down, handless = frames.copy(), frames.copy()
    upside_down[:, 1::3] = 1 - upside_down[:, 1::3]
    handless[:, 99:] = 0
    return {
        "one frame": (frames[:1], "all frames of the recording"),
        "frozen": (np.repeat(frames[:1], 30, 0), "each frame of the recording once"),
        "every frame three times": (np.repeat(frames, 3, 0), "each frame of the recording once"),
        "upside down": (upside_down, "y runs downwards"),
        "no hand": (handless, "the hands' landmarks come after"),
    }


def sound() -> dict[str, np.ndarray]:
    """Return sequences that are less than whole, and are answered."""
    frames = frames_of(24)
    points = frames.reshape(-1, LANDMARKS, 3)
    mirrored, poseless, eleven, centred = points.copy(), points.copy(), points.copy(), points.copy()
    mirrored[..., 0] = 1 - mirrored[..., 0]
    poseless[:, :33] = 0
    eleven[:, [*range(1, 11), *range(17, 23), *range(27, 33)]] = 0
    for hand in (slice(33, 54), slice(54, 75)):  # about their wrists and in their own size, without a pose
        centred[:, hand] = 4 * (points[:, hand] - points[:, hand.start : hand.start + 1])
    centred[:, :33] = 0
    one_hand = points.copy()
    one_hand[:, 33:54] = np.nan
    named = {"mirrored": mirrored, "no pose": poseless, "11 points of the pose": eleven, "hands about wrists": centred}
    return {name: one.reshape(frames.shape) for name, one in {**named, "one hand": one_hand}.items()}


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
        "zeros only": sent({"frames": [[0.0] * WIDTH] * 3}, field="frames"),
        "percentages": sent({"frames": (100 * frames_of(3)).tolist()}, field="frames"),
        "npy of pixels": array(npy(640 * frames_of(3)), 422, "frames"),
        "all coordinates null": sent({"frames": [[None] * WIDTH] * 2}, field="frames"),
        "100 000 frames": Bad(b'{"frames": [' + b"[0]," * 99_999 + b"[0]]}", 422, "frames"),
        "top_k header": Bad(npy(frames_of(2)), 422, "top_k", NPY, (("X-Top-K", "many"),)),
        "tta a string": sent({"frames": frames, "tta": "true"}, field="tta"),
        "tta a number": sent({"frames": frames, "tta": 1}, field="tta"),
        "tta of an instance": sent({"instances": [{"frames": frames, "tta": True}]}, field="instances[0].tta"),
        "tta header": Bad(npy(frames_of(2)), 422, "tta", NPY, (("X-TTA", "perhaps"),)),
        "embedding a string": sent({"frames": frames, "embedding": "yes"}, field="embedding"),
        "prototypes of nothing": sent({"frames": frames, "prototypes": {"sign_00": [[0.0]]}}, field="calibration_of"),
        "prototypes of another version": sent({"frames": frames, "prototypes": {}, "calibration_of": "0" * 64}, 409),
        "prototypes of an instance": sent(
            {"instances": [{"frames": frames, "prototypes": {}}]}, field="instances[0].prototypes"
        ),
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
        "npy scalar": array(npy(np.array(1, np.float32)), 422, "frames"),
        "npy 0 frames": array(npy(np.zeros((0, WIDTH), np.float32)), 422, "frames"),
        "npy 224 wide": array(npy(np.zeros((2, WIDTH - 1), np.float32)), 422, "frames"),
        "npy four axes": array(npy(np.zeros((1, 2, LANDMARKS, 3), np.float32)), 422, "frames"),
        "npy 100 000 frames": array(npy(np.zeros((5_000, WIDTH), np.float32)), 422, "frames"),
        "npy with infinity": array(npy(infinite), 422, "frames[1][9]"),
        "npy with 1e30": array(npy(far), 422, "frames[2][5]"),
        "npy all NaN": array(npy(missing), 422, "frames"),
        "pickle bytes as npy": array(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.", 400),
    }

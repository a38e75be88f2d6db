"""A person's own takes, from recordings to `calibration.json`, by a server that embeds them.

`calibration.json` holds what a request needs besides its frames: ``calibration_of`` (the graph's fingerprint) and
``prototypes`` (by sign, the takes' embeddings); and the model and version that gave them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import orjson

from archives.errors import MarinaError
from models.signflow.personal import MOST_TAKES
from models.signflow.sequences import Frames, as_frames
from training.signflow import recorded

NPY: Final = "application/x-npy"
NUMBERED: Final = re.compile(r"(?P<sign>.+?)(?:[ -]\d+)?")
"""A file's name without ``.npy``: the sign, and a number where there are several takes."""


class CalibrationError(MarinaError):
    """Takes cannot be read or embedded; the message says what was expected, what came, and what to do."""


@dataclass(frozen=True)
class Take:
    """One recording of a sign, float32 [T, 225]."""

    sign: str
    frames: Frames


@dataclass(frozen=True)
class Calibration:
    """What `calibration.json` holds."""

    model: str
    version: str
    calibration_of: str
    prototypes: Mapping[str, list[list[float]]]

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read what `write` wrote.

        Raises
        ------
        CalibrationError
            If the file is something else.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise CalibrationError(f"{path}: expected what scripts/calibrate.py writes, got: {error}") from error

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(vars(self), separators=(",", ":"), allow_nan=False) + "\n")


def read_takes(path: Path) -> list[Take]:
    """Read takes: an ``.npz`` as training reads it, or a folder with ``SIGN.npy``, ``SIGN-2.npy`` or ``SIGN/NAME.npy``.

    Raises
    ------
    CalibrationError
        If a file is no sequence of landmarks, or there is none.
    MarinaError
        As `training.signflow.recorded.read`, of an ``.npz``.
    """
    if not path.is_dir():
        if not path.is_file():
            raise CalibrationError(f"{path}: expected an .npz file or a folder of .npy files, found nothing")
        clips, _ = recorded.read(path, on_bad="refuse")
        return [Take(clips.signs[label], frames) for label, frames in zip(clips.labels, clips.sequences, strict=True)]
    takes = []
    for file in sorted([*path.glob("*.npy"), *path.glob("*/*.npy")]):
        name = NUMBERED.fullmatch(file.stem)
        sign = file.parent.name if file.parent != path else name["sign"] if name else file.stem
        try:
            takes.append(Take(sign, as_frames(np.load(file, allow_pickle=False))))
        except (OSError, ValueError) as error:
            raise CalibrationError(f"{file}: expected one take of {sign}: {error}") from error
    if not takes:
        raise CalibrationError(f"{path}: expected SIGN.npy, SIGN-2.npy or SIGN/NAME.npy in it, found none")
    return takes


class Server:
    """A server that serves the model.

    Parameters
    ----------
    url
        Such as ``http://127.0.0.1:8080``.
    model
        Its name there.
    token
        The inference port's, where it asks for one.
    version
        Which version is asked; whatever the server chooses, without one.
    """

    def __init__(self, url: str, model: str, token: str | None = None, version: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._path = f"{url.rstrip('/')}/predictions/{model}"
        self.version = version

    def calibrate(self, takes: list[Take]) -> Calibration:
        """Have takes embedded, all by one version; of a sign with more than `MOST_TAKES`, the first of them.

        Raises
        ------
        CalibrationError
            If the server does not answer, refuses a take, or its version gives no embeddings.
        """
        prototypes: dict[str, list[list[float]]] = {}
        answer: dict[str, Any] = {}
        for take in takes:
            mine = prototypes.setdefault(take.sign, [])
            if len(mine) == MOST_TAKES:
                continue
            body = io.BytesIO()
            np.save(body, take.frames)
            answer = self._ask(body.getvalue(), {"Content-Type": NPY, "X-Embedding": "true"}, take.sign)
            if "embedding" not in answer:
                raise CalibrationError(
                    f"version {answer.get('version')} of {self._path} gives no embedding: it was built before there "
                    "were any; train and release the model again"
                )
            mine.append(answer["embedding"]["vector"])
            self.version = answer["version"]
        return Calibration(answer["model"], answer["version"], answer["embedding"]["calibration_of"], prototypes)

    def count_right(self, takes: list[Take], calibration: Calibration | None) -> int:
        """Return how many takes are recognised, with a calibration or without one.

        Raises
        ------
        CalibrationError
            As `calibrate`; and if the calibration is of another version.
        """
        own = {}
        if calibration is not None:
            own = {"calibration_of": calibration.calibration_of, "prototypes": calibration.prototypes}
        right = 0
        for take in takes:
            body = orjson.dumps({"frames": take.frames.tolist(), "top_k": 1, **own})  # NaN becomes null: missing
            answer = self._ask(body, {"Content-Type": "application/json"}, take.sign)
            right += answer["predictions"][0]["label"] == take.sign
        return right

    def _ask(self, body: bytes, headers: Mapping[str, str], sign: str) -> dict[str, Any]:
        path = f"{self._path}/{self.version}" if self.version else self._path
        try:
            response = httpx.post(path, content=body, headers={**self._headers, **headers}, timeout=60)
            said: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise CalibrationError(f"{path}: expected an answer, got: {error}; is it served there (--url)?") from error
        if not response.is_success:
            why = said.get("error", {}).get("message", response.text[:200])
            raise CalibrationError(f"a take of {sign!r} was answered with {response.status_code}: {why}")
        return said

"""Fetches what finds landmarks in the browser, and makes it ready: two npm packages, nothing else.

    python -m marina.products.live.assets

``@mediapipe/tasks-vision`` brings the programs (WebAssembly, on the CPU) and ``@mediapipe/holistic`` the models (both
Apache-2.0, by Google). npm fetches them; what came is compared with the SHA-512 below. The models only need to be told
how pixels are scaled, which is written into them (marina/products/live/flatbuffers.py), and to be put in one file. All
of it goes to MARINA_LIVE_ASSETS, 52 MB.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archives.errors import MarinaError
from marina.processes.console import show
from marina.products.live.flatbuffers import pixel_scaling, with_metadata
from marina.settings import read_settings


class AssetError(MarinaError):
    """The landmark models cannot be fetched or made; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """A release on npm, and the base64 SHA-512 of its tarball."""

    name: str
    version: str
    sha512: str


VISION: Final = Package(
    "@mediapipe/tasks-vision",
    "1.1.0",
    "ZJqh0wMKOINorfSffvDAxzyO1//c+FiG3IkzOdNDnLqvBB3DbMfj0bB/tys2SNf9S914sgoIbIpF4HTOi336cg==",
)
HOLISTIC: Final = Package(
    "@mediapipe/holistic",
    "0.5.1675471629",
    "qY+cxtDeSOvVtevrLgnodiwXYaAtPi7dHZtNv/bUCGEjFicAOYtMmrZSqMmbPkTB2+4jLnPF1vgshkAqQRSYAw==",
)
PROGRAMS: Final = {
    "vision_bundle.mjs": "vision_bundle.mjs",
    "wasm/vision_wasm_internal.js": "vision_wasm_internal.js",
    "wasm/vision_wasm_internal.wasm": "vision_wasm_internal.wasm",
    "wasm/vision_wasm_module_internal.js": "vision_wasm_module_internal.js",
    "wasm/vision_wasm_module_internal.wasm": "vision_wasm_module_internal.wasm",
    "wasm/vision_wasm_nosimd_internal.js": "vision_wasm_nosimd_internal.js",
    "wasm/vision_wasm_nosimd_internal.wasm": "vision_wasm_nosimd_internal.wasm",
}
"""Files of tasks-vision that a browser may ask for, and what they are called here."""

TASK: Final = "holistic.task"
WANTED: Final = (TASK, "vision_bundle.mjs", "vision_wasm_internal.js", "vision_wasm_internal.wasm")
"""Without these there is no camera on the page."""

PARTS: Final = {
    "face_detector.tflite": ("face_detection_short_range.tflite", 127.5, 127.5),
    "face_landmarks_detector.tflite": ("face_landmark.tflite", 0, 255),
    "hand_landmarks_detector.tflite": ("hand_landmark_full.tflite", 0, 255),
    "hand_roi_refinement.tflite": ("hand_recrop.tflite", 0, 255),
    "pose_detector.tflite": ("pose_detection.tflite", 127.5, 127.5),
    "pose_landmarks_detector.tflite": ("pose_landmark_lite.tflite", 0, 255),
}
"""By what a task calls them: the models of holistic, and the mean and deviation that pixels are scaled by."""

_LISTED: Final = re.compile(r'"filename":\s*"([^"]+)",\s*"start":\s*(\d+),\s*"end":\s*(\d+)')
_PACKED: Final = "holistic_solution_packed_assets"


def fetch(package: Package, folder: Path) -> dict[str, bytes]:
    """Fetch a release with npm into a folder, and return its files by their names.

    Raises
    ------
    AssetError
        If there is no npm, it cannot fetch, or what came is something else.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise AssetError("npm is needed to fetch the landmark models: apt-get install npm")
    command = [npm, "pack", f"{package.name}@{package.version}", "--pack-destination", str(folder), "--silent"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    tarball = folder / f"{package.name.removeprefix('@').replace('/', '-')}-{package.version}.tgz"
    if done.returncode or not tarball.is_file():
        raise AssetError(f"npm could not fetch {package.name} {package.version}: {done.stderr.strip()[-500:]}")
    return read_tarball(tarball.read_bytes(), package)


def read_tarball(tarball: bytes, package: Package) -> dict[str, bytes]:
    """Return the files of a tarball by their names.

    Raises
    ------
    AssetError
        If it is not the one that is expected.
    """
    came = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if came != package.sha512:
        expected = f"sha512-{package.sha512}, got sha512-{came}"
        raise AssetError(f"{package.name} {package.version}: expected {expected}; do not use it")
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        files = {one.name.removeprefix("package/"): archive.extractfile(one) for one in archive if one.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def unpack(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the models of holistic, by their names: those beside the packed ones, and those in there."""
    listed = _LISTED.findall(files[f"{_PACKED}_loader.js"].decode())
    data = files[f"{_PACKED}.data"]
    packed = {name.split("/")[-1]: data[int(start) : int(end)] for name, start, end in listed}
    return packed | {name: content for name, content in files.items() if name.endswith(".tflite")}


def make_task(models: Mapping[str, bytes]) -> bytes:
    """Return the task's file: a zip of the models, stored and not compressed, each with how its pixels are scaled.

    Raises
    ------
    AssetError
        If a model is not there.
    """
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as file:
        for name, (source, mean, deviation) in PARTS.items():
            if source not in models:
                raise AssetError(f"{HOLISTIC.name} {HOLISTIC.version} has no {source}")
            model = with_metadata(models[source], b"TFLITE_METADATA", pixel_scaling(mean, deviation))
            file.writestr(zipfile.ZipInfo(name), model)
    return whole.getvalue()


def make(target: Path) -> None:
    """Fetch and write everything; what is there already is replaced once all is."""
    with tempfile.TemporaryDirectory() as folder:
        vision, holistic = (fetch(package, Path(folder)) for package in (VISION, HOLISTIC))
    made = {own: vision[name] for name, own in PROGRAMS.items()} | {TASK: make_task(unpack(holistic))}
    target.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        part = target / f"{name}.part"
        part.write_bytes(content)
        part.replace(target / name)
    show(f"{target}: {len(made)} files, {sum(map(len, made.values())) / 1e6:.0f} MB")


def main(argv: list[str] | None = None) -> int:
    """Fetch and make them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    try:
        make(read_settings().live_assets)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

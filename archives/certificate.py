"""The certificate: golden inputs with the trained model's own answers, and the hash of every other member.

An archive proves itself twice. The hashes show that its bytes are the ones that were built; replaying the golden
inputs shows that those bytes, on this machine with this engine, still compute what the *trained* model answered
before it was exported. `certificate.npz` holds arrays named ``<case>/in/<input>`` and ``<case>/out/<output>``.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archives.contract import FORMAT, ArchiveError, canonical_json, read_json

Arrays = Mapping[str, NDArray[np.generic]]
Run = Callable[[Arrays], Arrays]
"""An engine's forward pass: named inputs to named outputs."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The one timestamp every member bears: zip's earliest."""


class CertificateError(ArchiveError):
    """An archive's proof failed: its bytes or its answers are not the certified ones."""


@dataclass(frozen=True)
class Case:
    """One golden input and the trained model's answer to it."""

    name: str
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Gap:
    """The largest absolute difference seen while replaying, and where."""

    value: float
    case: str
    output: str


@dataclass(frozen=True)
class Reduced:
    """The permission to serve in bfloat16, and the measurement that it rests on.

    Attributes
    ----------
    tolerance
        Largest gap on any output, when the golden inputs are replayed so.
    gap
        Largest gap that was measured at build time, on golden and held-out inputs.
    held_out
        Number of held-out inputs.
    decided_otherwise
        Share of them that was decided differently from the trained model.
    accuracy_lost
        Share of them decided rightly by the trained model, less the share decided rightly so.
    """

    tolerance: float
    gap: float
    held_out: int
    decided_otherwise: float
    accuracy_lost: float


def replay(cases: tuple[Case, ...], run: Run) -> Gap:
    """Run every golden input and return the largest gap to the trained model's answers.

    A NaN where the trained model gave a number, or an answer of another shape, is an infinite gap.
    """
    worst = Gap(0.0, cases[0].name, next(iter(cases[0].outputs)))
    for case in cases:
        answers = run(case.inputs)
        for name, expected in case.outputs.items():
            got = answers[name]
            if got.shape != expected.shape:
                return Gap(float("inf"), case.name, name)
            difference = np.abs(got.astype(np.float64) - expected.astype(np.float64))
            gap = float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))
            if gap > worst.value:
                worst = Gap(gap, case.name, name)
    return worst


def check_replay(cases: tuple[Case, ...], run: Run, tolerance: float) -> Gap:
    """Replay the golden inputs and refuse a gap beyond `tolerance`.

    Raises
    ------
    CertificateError
        Naming the output, the golden input and the gap.
    """
    gap = replay(cases, run)
    if not gap.value <= tolerance:
        raise CertificateError(
            f"the model does not answer as certified: output '{gap.output}' of golden input '{gap.case}' is off by "
            f"{gap.value:.3g}, tolerance {tolerance:.3g}; its weights, its code or the engine differ from what was "
            "certified: build the archive again and deploy that"
        )
    return gap


def write_certificate(
    members: Mapping[str, bytes],
    cases: tuple[Case, ...],
    tolerance: float,
    gap: Gap,
    decided: int,
    reduced: Reduced | None = None,
) -> bytes:
    """Return `certificate.json`: the hash of every member, the tolerance, and what was measured at build time.

    Parameters
    ----------
    members : mapping of str to bytes
        Every other member of the archive.
    cases : tuple of Case
        The golden inputs.
    tolerance : float
        Largest gap that is allowed.
    gap : Gap
        Largest gap that was measured.
    decided : int
        How many held-out inputs were seen to be decided as by the trained model.
    reduced : Reduced or None
        The permission to serve in bfloat16; without it the model never does.
    """
    return canonical_json(
        {
            "format": FORMAT,
            "decisions_equal": decided,
            "tolerance": tolerance,
            "gap": {"value": gap.value, "case": gap.case, "output": gap.output},
            "cases": [case.name for case in cases],
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
            **({"reduced": asdict(reduced)} if reduced else {}),
        }
    )


def check_hashes(folder: Path) -> None:
    """Compare every file below an unpacked archive with the certificate's hashes.

    Raises
    ------
    CertificateError
        Naming the first member that is altered, missing or not certified.
    """
    certified: dict[str, str] = read_json(folder / "certificate.json")["sha256"]
    present = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - {"certificate.json"}
    for name in sorted(present | set(certified)):
        if name not in present:
            raise CertificateError(f"{name} is certified but missing: the archive is damaged, deploy the original")
        if name not in certified:
            raise CertificateError(f"{name} is not certified: it was added after the archive was built")
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if digest != certified[name]:
            raise CertificateError(
                f"{name} was altered after certification: SHA-256 {digest[:16]}…, certified {certified[name][:16]}…; "
                "deploy the original archive"
            )


def write_cases(cases: tuple[Case, ...]) -> bytes:
    """Return `certificate.npz`."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for case in cases:
        arrays |= {f"{case.name}/in/{name}": array for name, array in case.inputs.items()}
        arrays |= {f"{case.name}/out/{name}": array for name, array in case.outputs.items()}
    return write_npz(arrays)


def read_cases(path: Path) -> tuple[Case, ...]:
    """Read `certificate.npz`.

    Raises
    ------
    CertificateError
        If it holds no golden input.
    """
    sides: dict[str, dict[str, dict[str, NDArray[np.generic]]]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            case, side, name = key.split("/", 2)
            sides.setdefault(case, {"in": {}, "out": {}})[side][name] = arrays[key]
    if not sides:
        raise CertificateError(f"{path.name} holds no golden input: an archive proves nothing without one")
    return tuple(Case(name, both["in"], both["out"]) for name, both in sides.items())


def write_npz(arrays: Arrays) -> bytes:
    """Return arrays as a .npz whose bytes depend on nothing but them (no pickle, no clock).

    Raises
    ------
    ValueError
        If an array holds Python objects.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(arrays[name]), allow_pickle=False)
            members.writestr(zip_entry(f"{name}.npy"), content.getvalue())
    return buffer.getvalue()


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return a zip entry without clock, owner, platform or compressor in it: stored, which also loads fastest."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry

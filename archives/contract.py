"""What an archive guarantees: `contract.json`, the machine-readable face of a model.

`FORMAT` is the version of everything this package describes: which members an archive has, what is in them, and
how they prove each other.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from archives.errors import MarinaError

FORMAT = 1
"""The archive format this code writes.

To change the format: raise this number; keep what reads every number in `READABLE`; put an archive of the old
format under `tests/archives/fixtures` and test that it still opens; describe the difference in docs/ARCHIVES.md.
"""

READABLE = frozenset({1})
"""The formats this code reads."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,2}")

MOST_SUMMARISED = 24
"""Most names in a summary: each is logged with every instance, and is one more thing to be watched."""

ANSWERS = frozenset({"confidence", "label", "predicted", "truth"})
"""What `reference.npz` says of the answers to its rows; no summary has these names."""

Range = tuple[float | None, float | None]
"""Lowest and highest value; None is no bound."""


class ArchiveError(MarinaError):
    """An archive, or a part of one, is not what the contract says; the message says what to do about it."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of the graph.

    Attributes
    ----------
    name : str
        Its name in the graph.
    dtype : str
        numpy's name of its element type, such as ``float32``.
    shape : tuple of (int or str)
        Sizes; a string names a dynamic axis, such as ``batch`` or ``time``.
    unit : str
        What one element measures.
    missing : str
        What NaN means and whether infinities are allowed (they never are, unless this says so).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    unit: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Contract:
    """What a served model takes and gives.

    Attributes
    ----------
    model, version, family : str
        Served name (`/predictions/{model}`), version, and the module name of its family in every room.
    task : str
        ``classification``, ``regression`` or ``anomaly``.
    inputs, outputs : tuple of Tensor
        The graph's inputs and outputs, in order.
    labels : tuple of str
        Class names in the order of the class axis; empty where there are none.
    thresholds : Mapping of str to float
        Decision thresholds by name.
    features : tuple of str
        Feature names in the order of the feature axis; empty where the input is not tabular.
    limits : Mapping of str to int
        Bounds a request must keep, such as the longest sequence.
    possible, usual : Mapping of str to (low, high)
        What a quantity of one instance can be, and what it usually is: a feature, or what the family measures of an
        instance, such as ``missing_share``. None is no bound. Training leaves out, and serving refuses, what is not
        possible; what is not usual is answered with a warning.
    summary : tuple of str
        What the prediction log says of an instance, in the order of `handlers.base.Handler.summarise`: numbers that
        `reference.npz` has of each reference row under these names. At most `MOST_SUMMARISED`; an archive from before
        there were any has none.
    """

    model: str
    version: str
    family: str
    task: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    possible: Mapping[str, Range] = field(default_factory=dict)
    usual: Mapping[str, Range] = field(default_factory=dict)
    summary: tuple[str, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.model):
            raise ArchiveError(f"model name {self.model!r}: expected a letter, then at most 63 letters, digits or '_'")
        if not VERSION.fullmatch(self.version):
            raise ArchiveError(f"version {self.version!r}: expected one to three numbers joined by dots, such as 1.0")
        if not self.inputs or not self.outputs:
            raise ArchiveError(f"{self.model}: a contract names at least one input and one output")
        if len(self.summary) > MOST_SUMMARISED or len({*self.summary, *ANSWERS}) < len(self.summary) + len(ANSWERS):
            raise ArchiveError(
                f"{self.model}: a summary has at most {MOST_SUMMARISED} names, none twice and none of {sorted(ANSWERS)}"
            )


def write_contract(contract: Contract) -> bytes:
    """Return `contract` as canonical JSON."""
    return canonical_json(asdict(contract))


def read_contract(path: Path) -> Contract:
    """Read `contract.json`.

    Raises
    ------
    ArchiveError
        If the file is absent, is not JSON, or does not describe a contract of a readable format.
    """
    try:
        return parse_contract(read_json(path))
    except ArchiveError as error:
        raise ArchiveError(f"{path.name}: {error}") from error


def parse_contract(raw: Mapping[str, Any]) -> Contract:
    """Return the contract that `contract.json` describes.

    Raises
    ------
    ArchiveError
        If it describes none of a readable format.
    """
    if raw.get("format") not in READABLE:
        raise ArchiveError(
            f"format {raw.get('format')!r}, this code reads {sorted(READABLE)}; "
            "serve it with the release that built it, or build it again"
        )
    try:
        tensors = {
            side: tuple(Tensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in raw[side])
            for side in ("inputs", "outputs")
        }
        # An archive from before there were ranges has none.
        ranges = {
            side: {name: (low, high) for name, (low, high) in raw.get(side, {}).items()}
            for side in ("possible", "usual")
        }
        names = {"labels": tuple(raw["labels"]), "features": tuple(raw["features"])}
        names["summary"] = tuple(raw.get("summary", ()))  # as for ranges
        return Contract(**{**raw, **tensors, **ranges, **names})
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"does not describe a contract: {error!r}") from error


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and fixed layout: equal values give equal bytes."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises
    ------
    ArchiveError
        If the file is absent or holds anything else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArchiveError(f"{path.name} is missing: this is not an archive of ours, or it is damaged") from None
    except ValueError as error:
        raise ArchiveError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArchiveError(f"{path.name}: expected a JSON object, found {type(value).__name__}")
    return value

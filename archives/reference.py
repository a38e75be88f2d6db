"""What an archive's model saw and answered when it was evaluated: `reference.npz`, which later traffic is held against.

Each name of the contract's ``summary`` is an array of one number per reference row, with the meaning that
`handlers.base.Handler.summarise` gives it: what the prediction log says of a request can be held against it as it is.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archives.archive import Archive
from archives.contract import ArchiveError

MEMBER = "reference.npz"


@dataclass(frozen=True)
class Reference:
    """Reference rows of one archive: held-out inputs, and what the evaluated fit answered to them.

    Attributes
    ----------
    summary : Mapping of str to ndarray of float32, shape (rows,)
        By name, in the contract's order; NaN is a number that is not there. Empty for an archive that has none.
    confidence : ndarray of float32, shape (rows,), or None
        Of the answer that was given, from 0 to 1; None where a model gives no such thing.
    predicted : ndarray of int64, shape (rows,), or None
        Position among `labels` of the answer that was given; None where there are no labels.
    labels : tuple of str
        The contract's, in the order of the class axis.
    """

    summary: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    confidence: NDArray[np.float32] | None = None
    predicted: NDArray[np.int64] | None = None
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many rows are summarised."""
        return len(next(iter(self.summary.values()), ()))

    @property
    def label_counts(self) -> dict[str, int]:
        """How many of the rows had each label as their answer; empty where that is not known."""
        if self.predicted is None or not self.labels:
            return {}
        counts = np.bincount(self.predicted, minlength=len(self.labels))
        return dict(zip(self.labels, counts.tolist(), strict=True))


def read_reference(archive: Archive) -> Reference:
    """Read an archive's reference rows.

    Parameters
    ----------
    archive
        By `archives.archive.open_archive`.

    Raises
    ------
    ArchiveError
        If what the contract names is not there, or the arrays are not of one length.
    """
    contract = archive.contract
    with np.load(io.BytesIO(archive.members[MEMBER]), allow_pickle=False) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    check_reference(contract.summary, stored)
    confidence, predicted = stored.get("confidence"), stored.get("predicted")
    if predicted is not None and len(predicted) and not 0 <= predicted.min() <= predicted.max() < len(contract.labels):
        raise ArchiveError(f"{MEMBER}: predicted: expected places among {len(contract.labels)} labels; build it again")
    return Reference(
        summary={name: stored[name].astype(np.float32) for name in contract.summary},
        confidence=None if confidence is None else confidence.astype(np.float32),
        predicted=None if predicted is None else predicted.astype(np.int64),
        labels=contract.labels,
    )


def check_reference(names: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse reference rows that are not what their contract says.

    Parameters
    ----------
    names
        The contract's ``summary``.
    arrays
        Of `reference.npz`.

    Raises
    ------
    ArchiveError
        If one of the names is no array of numbers per row, or they are not as many as answers.
    """
    for name in names:
        if name not in arrays or arrays[name].dtype != np.float32 or arrays[name].ndim != 1:
            expected = "expected a float32 number per row, as contract.json names it"
            raise ArchiveError(f"{MEMBER}: {name}: {expected}; build the archive again")
    columns = (*names, *(name for name in ("confidence", "predicted") if name in arrays))
    if len({arrays[name].shape for name in columns}) > 1:
        raise ArchiveError(f"{MEMBER}: expected as many rows of each of {', '.join(columns)}; build the archive again")

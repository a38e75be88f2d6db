"""A version's detectors as a row of the database: how far its answers were watched, and what was seen by then."""

import dataclasses
import io
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from marina.database.connection import Database
from marina.database.tables import DRIFT_DETECTORS
from marina.monitoring.detector import Detector
from marina.monitoring.dispersion import WARM_UP, Dispersion
from marina.monitoring.e_detector import Batch
from marina.monitoring.observations import Cursor
from marina.monitoring.streams import Stream, Watchlist

_DISPERSION = tuple(one.name for one in dataclasses.fields(Dispersion))


@dataclass
class Watched:
    """Where the watching of one version stands.

    Attributes
    ----------
    model, version, sha256
        Of which archive.
    started_at
        Since when, in seconds since 1970.
    cursor
        The last answer that was taken.
    detector
        The state of its streams, those of its `Watchlist`, in that order.
    quiet_since : ndarray of float, shape (K,)
        When each stream last had next to no evidence.
    grouping
        How many rows of the same client a row is usually among.
    batches, requests
        How many were taken.
    baseline
        Traffic that a person accepted as the new reference.
    evidence, needed
        Of the strongest stream, and what it alone would need.
    moved
        Names of the streams that have moved; empty while none has.
    alarmed_at, alert
        When that was found, and the number of the alert about it; it is watched no further until that is decided.
    """

    model: str
    version: str
    sha256: str
    started_at: float
    cursor: Cursor
    detector: Detector
    quiet_since: NDArray[np.float64]
    grouping: float = 0.0
    batches: int = 0
    requests: int = 0
    baseline: Batch | None = None
    evidence: float = -math.inf
    needed: float = 0.0
    moved: list[str] = field(default_factory=list)
    alarmed_at: float | None = None
    alert: int | None = None

    @staticmethod
    def start(model: str, version: str, sha256: str, watchlist: Watchlist, since: float) -> "Watched":
        """Begin to watch a version at a time."""
        count = len(watchlist.streams)
        detector = Detector.start(np.ones(count))
        return Watched(model, version, sha256, since, Cursor(since), detector, np.full(count, since))

    @property
    def batches_missing(self) -> int:
        """How many batches have to come until requests count one by one: 0 once they do."""
        return max(0, WARM_UP - self.batches)

    def moved_of(self, watchlist: Watchlist) -> list[Stream]:
        """Return the streams that have moved."""
        return [one for one in watchlist.streams if one.name in set(self.moved)]


def read(connection: sa.Connection, model: str, version: str, sha256: str, watchlist: Watchlist) -> Watched | None:
    """Read where a version stands; None where it is not watched yet, or another archive was."""
    row = connection.execute(
        sa.select(DRIFT_DETECTORS).where(DRIFT_DETECTORS.c.model == model, DRIFT_DETECTORS.c.version == version)
    ).one_or_none()
    if row is None or row.sha256 != sha256:
        return None
    with np.load(io.BytesIO(row.state), allow_pickle=False) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    count = len(watchlist.streams)
    if kept["quiet_since"].shape != (count,):  # another release of this code watches other streams
        return None
    return Watched(
        model=model,
        version=version,
        sha256=sha256,
        started_at=row.started_at,
        cursor=Cursor(row.time, row.request_id, row.instance),
        detector=Detector(kept["limit"], kept["evidence"], Dispersion(**{name: kept[name] for name in _DISPERSION})),
        quiet_since=kept["quiet_since"],
        grouping=float(kept["grouping"]),
        batches=row.batches,
        requests=row.requests,
        baseline=Batch(kept["baseline_count"], kept["baseline_mean"]) if "baseline_count" in kept else None,
        evidence=-math.inf if row.evidence is None else row.evidence,
        needed=row.needed,
        moved=list(json.loads(row.moved)),
        alarmed_at=row.alarmed_at,
        alert=row.alert,
    )


def position(connection: sa.Connection, model: str, version: str) -> tuple[object, ...] | None:
    """Return which archive's answers were taken, and how far; None where nothing is written yet."""
    table = DRIFT_DETECTORS.c
    where = (table.model == model, table.version == version)
    columns = (table.sha256, table.time, table.request_id, table.instance, table.alarmed_at, table.alert)
    row = connection.execute(sa.select(*columns).where(*where)).one_or_none()
    return None if row is None else tuple(row)


def save(database: Database, connection: sa.Connection, one: Watched) -> None:
    """Write where a version stands, in the transaction that took its batches."""
    arrays: dict[str, Any] = {name: getattr(one.detector.dispersion, name) for name in _DISPERSION}
    arrays |= {"limit": one.detector.limit, "evidence": one.detector.state, "quiet_since": one.quiet_since}
    arrays["grouping"] = np.float64(one.grouping)
    if one.baseline is not None:
        arrays |= {"baseline_count": one.baseline.count, "baseline_mean": one.baseline.mean}
    file = io.BytesIO()
    np.savez(file, **arrays)
    row = {
        "model": one.model,
        "version": one.version,
        "sha256": one.sha256,
        "started_at": one.started_at,
        **one.cursor._asdict(),
        "batches": one.batches,
        "requests": one.requests,
        "state": file.getvalue(),
        "evidence": one.evidence if math.isfinite(one.evidence) else None,
        "needed": one.needed,
        "moved": json.dumps(one.moved, ensure_ascii=False),
        "alarmed_at": one.alarmed_at,
        "alert": one.alert,
    }
    database.put(connection, DRIFT_DETECTORS, [row])

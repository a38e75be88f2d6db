"""The server this runs beside, for Prometheus: its versions' states, archives, certificate, spool and disk."""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from marina.database.tables import DECLARATIONS, REPLICAS
from marina.events import offsets
from marina.events.exposition import Row, write_family
from marina.releases.declarations import copy_name
from marina.releases.replica_status import is_alive
from marina.settings import Settings

STATES = ("waiting", "loading", "ready", "refused", "draining")
LOOK_AGAIN_S = 3600.0
"""How often an archive is read again that looks unchanged: disks may fail without changing a time."""

Cause = Literal["corrupt", "signature", "certificate", "other"]
CAUSES: tuple[tuple[Cause, str], ...] = (
    ("certificate", r"golden|tolerance|gap|its own example"),
    ("signature", r"\b(signed|signature|signs)\b|revoked"),
    (
        "corrupt",
        r"altered|damaged|missing|SHA-256|may not be deployed|no longer what was declared|not a zip|changes? while",
    ),
    ("certificate", r"certif"),
)
"""What a refusal is for, by words of its reason, the first that fits."""


def classify_refusal(reason: str) -> Cause:
    """Return what a version is refused for, from the text of the reason.

    ``corrupt``: the archive's bytes are not those that were built. ``signature``: no one who counts has signed it.
    ``certificate``: it does not answer its golden inputs as the trained model did.
    """
    return next((cause for cause, words in CAUSES if re.search(words, reason, re.I)), "other")


def collect_versions(connection: sa.Connection, now: float) -> Iterable[list[str]]:
    """Write how many live servers have each version in which state, and what refused ones are refused for."""
    del now
    states: Counter[tuple[str, str, str]] = Counter()
    refused: Counter[tuple[str, str, str]] = Counter()
    servers = set()
    for row in connection.execute(sa.select(REPLICAS).where(is_alive(connection))):
        servers.add(row.replica)
        states[row.model, row.version, row.state if row.state in STATES else "waiting"] += 1
        if row.state == "refused":
            refused[row.model, row.version, classify_refusal(row.reason)] += 1
    rows: list[Row] = [({"model": m, "version": v, "state": s}, n) for (m, v, s), n in sorted(states.items())]
    yield write_family("marina_version_servers", "gauge", "Live servers that have the version in this state.", rows)
    rows = [({"model": m, "version": v, "cause": cause}, n) for (m, v, cause), n in sorted(refused.items())]
    yield write_family("marina_version_refused", "gauge", "Live servers that refuse to serve it, by cause.", rows)
    yield write_family(
        "marina_servers", "gauge", "Servers that were last seen within ten seconds.", [({}, len(servers))]
    )


@dataclass(frozen=True)
class _Seen:
    state: tuple[int, int, int]  # inode, size, nanoseconds of the last change
    at: float
    sha256: str


class ArchiveCheck:
    """Compares the declared archives' files with what was declared; reads a file when it changed, and hourly.

    Parameters
    ----------
    copies
        The folder of the copies that serve.
    monotonic
        A clock that is never set, in seconds.
    """

    def __init__(self, copies: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._copies = copies
        self._monotonic = monotonic
        self._seen: dict[Path, _Seen] = {}

    def collect(self, connection: sa.Connection, now: float) -> Iterable[list[str]]:
        """Write 1 for each archive on this host that is whole, 0 for one that is not."""
        del now
        rows: list[Row] = []
        kept = {}
        for row in connection.execute(sa.select(DECLARATIONS).order_by(DECLARATIONS.c.model, DECLARATIONS.c.version)):
            whole = []
            for path in {Path(row.archive), self._copies / copy_name(row.model, row.version, row.sha256)}:
                with contextlib.suppress(OSError):
                    kept[path] = seen = self._read(path)
                    whole.append(seen.sha256 == row.sha256)
            if whole:
                rows.append(({"model": row.model, "version": row.version}, int(all(whole))))
        self._seen = kept
        about = "1 where the declared archive's file on this host has the SHA-256 that was declared, else 0."
        yield write_family("marina_archive_intact", "gauge", about, rows)

    def _read(self, path: Path) -> _Seen:
        found = path.stat()
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        known, passed = self._seen.get(path), self._monotonic()
        if known is not None and known.state == state and passed - known.at < LOOK_AGAIN_S:
            return known
        with path.open("rb") as file:
            return _Seen(state, passed, hashlib.file_digest(file, "sha256").hexdigest())


def collect_storage(connection: sa.Connection, settings: Settings) -> Iterable[list[str]]:
    """Write how full the disk of the state folder and the spool are, and how much the collector has before it."""
    rows: list[Row] = []
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(settings.state_dir)
        rows = [({"of": "size"}, disk.total), ({"of": "free"}, disk.free)]
    yield write_family("marina_state_disk_bytes", "gauge", "The disk that the state folder is on.", rows)
    sizes: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for path in settings.spool_dir.glob("*-*.jsonl"):
            with contextlib.suppress(OSError):
                sizes["-".join(path.stem.rsplit("-", 2)[1:])] = path.stat().st_size
    yield write_family("marina_spool_bytes", "gauge", "Answers in files, on their way.", [({}, sum(sizes.values()))])
    limit: list[Row] = [({}, settings.spool_limit_bytes)]
    yield write_family("marina_spool_limit_bytes", "gauge", "Beyond this, answers are not logged.", limit)
    unread: list[Row] = []
    with contextlib.suppress(OSError):
        folder = (settings.log_dir / offsets.FOLDER_ID).read_text()
        read = offsets.of_folder(connection, folder)
        left = sum(max(0, size - read.get(f"{folder} spool {key}", 0)) for key, size in sizes.items())
        unread.append(({}, left))
    about = "Bytes of answers that the collector has not taken over into the database."
    yield write_family("marina_collector_unread_bytes", "gauge", about, unread)


def collect_certificate(settings: Settings) -> Iterable[list[str]]:
    """Write when the gateway's TLS certificate ends; 0 where it is set and cannot be read."""
    rows: list[Row] = []
    if settings.tls_certificate is not None:
        from cryptography import x509

        ends = 0.0
        with contextlib.suppress(OSError, ValueError):
            ends = x509.load_pem_x509_certificate(settings.tls_certificate.read_bytes()).not_valid_after_utc.timestamp()
        rows.append(({}, ends))
    about = "When the TLS certificate ends, in seconds since 1970; 0: it cannot be read."
    yield write_family("marina_tls_certificate_end_seconds", "gauge", about, rows)


def own_server(settings: Settings) -> Callable[[sa.Connection, float], Iterable[list[str]]]:
    """Return what writes all of this module but versions and archives."""

    def collect(connection: sa.Connection, now: float) -> Iterable[list[str]]:
        del now
        yield from collect_storage(connection, settings)
        yield from collect_certificate(settings)
        yield write_family("marina_cpus", "gauge", "Processors that this host has.", [({}, os.cpu_count() or 1)])

    return collect

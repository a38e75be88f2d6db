"""Which versions have traffic, and what their archives say about watching them."""

from dataclasses import dataclass

import sqlalchemy as sa

from archives.archive import open_archive
from archives.contract import ArchiveError
from archives.errors import MarinaError
from archives.reference import read_reference
from marina.database.tables import DECLARATIONS
from marina.monitoring import watch_settings
from marina.monitoring.drift_watch import Version
from marina.monitoring.performance import held_out_accuracy
from marina.monitoring.streams import Watchlist
from marina.releases.declarations import copy_name
from marina.settings import Settings

LONGEST_S = 30 * 86_400.0
"""A version that answered before it was watched is watched from so long ago on, at most."""


class NotLiveError(MarinaError):
    """A model has no version with traffic; the message says which have."""


@dataclass(frozen=True)
class Live:
    """A version that is watched, and its accuracy on held-out data where that is known."""

    version: Version
    held_out: float | None


class LiveVersions:
    """Reads the archives of declared versions, each once.

    Parameters
    ----------
    settings
        Where their copies are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[str, tuple[Watchlist, float | None]] = {}
        self.unreadable: dict[str, str] = {}
        """Versions whose archive cannot be read here, as text, and why."""

    def find(self, connection: sa.Connection, now: float, model: str | None = None) -> list[Live]:
        """Return the versions that have traffic, by model, those declared last first."""
        declared = sa.select(DECLARATIONS).where(DECLARATIONS.c.weight > 0)
        if model is not None:
            declared = declared.where(DECLARATIONS.c.model == model)
        rows = connection.execute(declared.order_by(DECLARATIONS.c.model, DECLARATIONS.c.declared_at.desc())).all()
        self.unreadable = {}
        found = []
        for row in rows:
            try:
                watchlist, held_out = self._open(row.model, row.version, row.sha256)
                chosen = watch_settings.read(connection, self._settings, row.model)
            except (ArchiveError, OSError, ValueError) as error:
                self.unreadable[f"{row.model} {row.version}"] = str(error)
                continue
            since = max(row.declared_at, now - LONGEST_S)
            found.append(Live(Version(row.model, row.version, row.sha256, since, watchlist, chosen), held_out))
        if model is None:
            self._read = {sha256: self._read[sha256] for sha256 in {row.sha256 for row in rows} & set(self._read)}
        return found

    def choose(self, connection: sa.Connection, now: float, model: str | None) -> list[Live]:
        """Return what a person asked for.

        Raises
        ------
        NotLiveError
            When there is none.
        """
        found = self.find(connection, now, model)
        if not found:
            reasons = "".join(f"\n  {name}: {why}" for name, why in self.unreadable.items())
            known = sorted(set(connection.execute(sa.select(DECLARATIONS.c.model)).scalars()))
            asked = f"{model} has no version with traffic" if model else "No version has traffic"
            raise NotLiveError(f"{asked} that can be read here; declared: {', '.join(known) or 'none'}.{reasons}")
        return found

    def _open(self, model: str, version: str, sha256: str) -> tuple[Watchlist, float | None]:
        if sha256 not in self._read:
            copy = self._settings.state_dir / "declared" / copy_name(model, version, sha256)
            stored = self._settings.archive_store / f"{model}-{version}.mar"
            archive = open_archive(copy if copy.is_file() else stored, sha256)
            if archive.sha256 != sha256:
                raise ArchiveError(f"{archive.path} is not the archive that was declared; declare {model} again")
            watchlist = Watchlist.of(read_reference(archive))
            self._read[sha256] = watchlist, held_out_accuracy(archive.json("provenance.json"))
        return self._read[sha256]

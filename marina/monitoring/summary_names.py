"""How the numbers of a version's input summaries are called: its archive's contract says so."""

from collections.abc import Sequence
from pathlib import Path

from archives.archive import open_archive
from archives.contract import ArchiveError


class SummaryNames:
    """Opens each declared archive once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Sequence[str]] = {}

    def __call__(self, model: str, version: str, archive: str) -> Sequence[str]:
        """Return the names; none where the archive has no summaries, or cannot be opened here."""
        key = (model, version, archive)
        if key not in self._known:
            try:
                contract = open_archive(Path(archive)).contract
            except ArchiveError:
                return ()  # it may be copied here yet
            self._known[key] = tuple(getattr(contract, "summary", ()))
        return self._known[key]

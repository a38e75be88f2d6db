"""Which versions there are, which are open, and who gets which: folders and links that nginx follows at each request.

::

    models/MODEL/VERSION/          a version that is declared
    models/MODEL/VERSION/open      it takes traffic
    models/MODEL/VERSION/refused   it failed its own check
    parts/MODEL/000 … 999          links to versions: a thousandth of the model's unversioned requests each

Every change is one rename, so it holds from one request to the next and no connection is closed for it, as it would be
when nginx reloads. A request costs one look for a file and one followed link.
"""

import os
import shutil
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from rollout.declaration import NAME, VERSION

PARTS = 1000


def divide(weights: Sequence[tuple[str, float]]) -> list[str]:
    """Give each of the parts to a version, by weight.

    Parameters
    ----------
    weights
        Versions and their weights, on any scale. The first one takes the first parts: who has it keeps it while its
        share grows.

    Returns
    -------
    list of str
        A version for each part; empty when no weight is above 0. Shares are rounded to a thousandth.
    """
    weighted = [(version, weight) for version, weight in weights if weight > 0]
    total = sum(weight for _, weight in weighted)
    ends = [round(PARTS * sofar / total) for sofar in accumulate(weight for _, weight in weighted)]
    parts = zip(weighted, [0, *ends[:-1]], ends, strict=True)
    return [version for (version, _), start, end in parts for _ in range(start, end)] if weighted else []


class Routes:
    """The folders of one gateway."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given: dict[str, list[str]] = {}
        for part in ("models", "parts"):
            (folder / part).mkdir(exist_ok=True)

    def declare(self, model: str, version: str) -> None:
        """Make a version known: who asks for it is told that it is being loaded."""
        if not NAME.fullmatch(model) or not VERSION.fullmatch(version):
            raise ValueError(f"model {model!r} version {version!r}: expected letters, digits, '.', '_' and '-'")
        self._version(model, version).mkdir(parents=True, exist_ok=True)

    def forget(self, model: str, version: str) -> None:
        """Make a version unknown; no part may be its any more."""
        shutil.rmtree(self._version(model, version), ignore_errors=True)

    def open(self, model: str, version: str) -> None:
        """Let traffic through to a version."""
        self.declare(model, version)
        (self._version(model, version) / "open").touch()

    def is_open(self, model: str, version: str) -> bool:
        """Whether traffic gets through to a version."""
        return (self._version(model, version) / "open").exists()

    def close(self, model: str, version: str) -> None:
        """Answer 503 with Retry-After for a version."""
        (self._version(model, version) / "open").unlink(missing_ok=True)

    def refuse(self, model: str, version: str) -> None:
        """Answer 503 for a version, and say that it failed its check."""
        self.close(model, version)
        (self._version(model, version) / "refused").touch()

    def close_all(self) -> None:
        """Answer 503 with Retry-After for every version."""
        for place in self._folder.glob("models/*/*/open"):
            place.unlink(missing_ok=True)

    def share(self, model: str, weights: Sequence[tuple[str, float]]) -> None:
        """Divide a model's unversioned requests among declared versions, as `divide` does; none: nobody answers."""
        wanted = divide(weights)
        given = self._given.get(model, [])
        if wanted == given:
            return
        folder = self._folder / "parts" / model
        folder.mkdir(exist_ok=True)
        for number in range(PARTS):
            version = wanted[number] if wanted else None
            if version != (given[number] if given else None):
                self._link(folder / f"{number:03d}", f"../../models/{model}/{version}" if version else None)
        self._given[model] = wanted

    def _version(self, model: str, version: str) -> Path:
        return self._folder / "models" / model / version

    def _link(self, place: Path, target: str | None) -> None:
        if target is None:
            place.unlink(missing_ok=True)
            return
        fresh = place.with_name(".new")
        os.symlink(target, fresh)
        os.replace(fresh, place)

"""Which versions there are, which are open, and who gets which: folders and links that nginx follows at each request.

::

    versions/MODEL/VERSION/          a version that is declared
    versions/MODEL/VERSION/open      it takes traffic
    versions/MODEL/VERSION/refused   it failed its own check
    versions/MODEL/VERSION/64        an empty folder: at most 64 of its requests may be in flight
    versions/MODEL/VERSION/64-else-1.0   the same, and 1.0 is asked in its place where it fails
    models/MODEL/VERSION             a link to one such folder
    parts/MODEL/000 … 999            links to those links: a thousandth of the model's unversioned requests each

Every change is one rename, so it holds from one request to the next and no connection is closed for it, as it would be
when nginx reloads. A request costs one look for a file and two followed links. No change needs room on the disk.
"""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from marina.releases.declarations import NAME, VERSION
from marina.serving.concurrency_limits import TIERS

PARTS = 1000
WITHHELD_S = 60.0
"""A share is withheld for at least so long, unless the declaration says the same before."""


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


@dataclass
class Withheld:
    """A share that goes to another version than it is declared to go to.

    Attributes
    ----------
    canary, stable
        Whose, and to whom.
    since
        When that was ordered last.
    seen
        Whether the canary was declared to have a share since then.
    """

    canary: str
    stable: str
    since: float
    seen: bool = False


class Routes:
    """The folders of one gateway; more than one thread may change them.

    Parameters
    ----------
    folder
        The run folder.
    monotonic
        A clock that is never set, in seconds.
    """

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._weights: dict[str, list[tuple[str, float]]] = {}
        self._withheld: dict[str, Withheld] = {}
        self._given: dict[str, list[str]] = {}
        self._torn: set[str] = set()
        self._lock = threading.RLock()
        self._limits: dict[tuple[str, str], int] = {}
        self._stand_ins: dict[tuple[str, str], str] = {}
        self._linked: dict[tuple[str, str], str] = {}
        for part in ("versions", "models", "parts"):
            (folder / part).mkdir(exist_ok=True)

    def declare(self, model: str, version: str) -> None:
        """Make a version known: clients that ask for it learn that it is being loaded."""
        if not NAME.fullmatch(model) or not VERSION.fullmatch(version):
            raise ValueError(f"model {model!r} version {version!r}: expected letters, digits, '.', '_' and '-'")
        self._version(model, version).mkdir(parents=True, exist_ok=True)
        self._place(model, version)

    def limit(self, model: str, version: str, requests: int) -> None:
        """Let this many of a version's requests, one of `concurrency_limits.TIERS`, be in flight at once."""
        self._limits[model, version] = requests
        self._place(model, version)

    def set_stand_in(self, model: str, version: str, other: str) -> None:
        """Ask another version what this one, picked by the gateway, fails to answer; empty: none."""
        self._stand_ins[model, version] = other
        self._place(model, version)

    def version_path(self, model: str, version: str) -> Path:
        """Return the link that nginx follows for requests that name a version."""
        return self._folder / "models" / model / version

    def forget(self, model: str, version: str) -> None:
        """Make a version unknown; no part may be its any more."""
        self._link(self.version_path(model, version), None)
        shutil.rmtree(self._version(model, version), ignore_errors=True)
        for known in (self._limits, self._stand_ins, self._linked):
            known.pop((model, version), None)

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
        for path in self._folder.glob("versions/*/*/open"):
            path.unlink(missing_ok=True)

    def share(self, model: str, weights: Sequence[tuple[str, float]]) -> dict[str, float]:
        """Divide a model's unversioned requests among declared versions, as `divide` does; none: no version answers.

        Returns
        -------
        dict
            The weights in force: those given, but for what is withheld.
        """
        with self._lock:
            self._weights[model] = list(weights)
            self._divide(model)
            return self._in_force(model)

    def withhold(self, model: str, canary: str, stable: str) -> None:
        """Send a canary's share to stable, whatever weights are given, at once.

        That holds until the weights that are given leave the canary none, as they do once the retreat is declared.
        Where they still do not when the declaration is read (`expire_withheld`) `WITHHELD_S` after the last such order,
        it is void: the controller repeats it for as long as it cannot be declared.
        """
        with self._lock:
            self._withheld[model] = Withheld(canary, stable, self._monotonic())
            if model in self._weights:
                self._divide(model)

    def expire_withheld(self) -> None:
        """Note that the declaration was read again; what it has left as it is for too long is no longer withheld."""
        with self._lock:
            for model, one in list(self._withheld.items()):
                if self._monotonic() - one.since > WITHHELD_S:
                    del self._withheld[model]
                    self._divide(model)

    def retry_divisions(self) -> None:
        """Divide again what could not be divided to the end.

        Raises
        ------
        OSError
            When one still cannot be. All are tried.
        """
        failed: OSError | None = None
        with self._lock:
            for model in list(self._torn):
                try:
                    self._divide(model)
                except OSError as error:
                    failed = error
        if failed is not None:
            raise failed

    def in_force(self, model: str) -> dict[str, float]:
        """Return the weights by which a model's requests are divided now."""
        with self._lock:
            return self._in_force(model)

    def _in_force(self, model: str) -> dict[str, float]:
        weights = dict(self._weights.get(model, ()))
        one = self._withheld.get(model)
        if one is not None and (share := weights.get(one.canary)):
            weights |= {one.canary: 0.0, one.stable: weights.get(one.stable, 0.0) + share}
        return weights

    def _divide(self, model: str) -> None:
        weights = self._weights.get(model, [])
        wanted = divide(weights)
        one = self._withheld.get(model)
        if one is not None and dict(weights).get(one.canary):
            one.seen = True
            wanted = [one.stable if version == one.canary else version for version in wanted]
        elif one is not None and one.seen:
            del self._withheld[model]
        given, torn = self._given.get(model, []), model in self._torn
        if wanted == given and not torn:
            return
        self._torn.add(model)
        folder = self._folder / "parts" / model
        if not folder.exists():  # all at once, and one file for all links to a version: 10 ms in place of 280
            temporary = folder.with_name(f".{model}")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            made: dict[str, Path] = {}
            for number, first in enumerate(wanted):
                path = temporary / f"{number:03d}"
                if first in made:
                    os.link(made[first], path, follow_symlinks=False)
                else:
                    os.symlink(f"../../models/{model}/{first}", path)
                    made[first] = path
            temporary.rename(folder)
            given = wanted
        for number in range(PARTS):
            version = wanted[number] if wanted else None
            if torn or version != (given[number] if given else None):
                self._link(folder / f"{number:03d}", f"../../models/{model}/{version}" if version else None)
        self._given[model] = wanted
        self._torn.discard(model)

    def _place(self, model: str, version: str) -> None:
        key = (model, version)
        stand_in = self._stand_ins.get(key, "")
        name = f"{self._limits.get(key, TIERS[-1])}{f'-else-{stand_in}' if stand_in else ''}"
        if self._linked.get(key) == name:
            return
        path = self.version_path(model, version)
        # On a full disk a version that has a place keeps it; what is asked for is tried again with the next change.
        with contextlib.suppress(OSError) if key in self._linked else contextlib.nullcontext():
            (self._version(model, version) / name).mkdir(exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            self._link(path, f"../../versions/{model}/{version}/{name}")
            self._linked[key] = name

    def _version(self, model: str, version: str) -> Path:
        return self._folder / "versions" / model / version

    def _link(self, path: Path, target: str | None) -> None:
        if target is None:
            path.unlink(missing_ok=True)
            return
        temporary = path.with_name(".new")
        temporary.unlink(missing_ok=True)  # left where its rename failed
        os.symlink(target, temporary)
        os.replace(temporary, path)

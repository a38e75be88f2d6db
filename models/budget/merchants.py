"""Which known merchant a cleaned label means, in spite of typing mistakes, cut-off ends and store numbers.

A profile is a canonical name and the ways it is written. A text is compared (Indel similarity; rapidfuzz) only with the
ways that share the beginning or the end of a word with it, about ten of many hundreds; what was found is remembered.
About 10 µs for a text not met before, 0.2 µs for one that was.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rapidfuzz import fuzz, process

MOST_REMEMBERED: Final = 16_384
"""Texts whose merchant is kept; when that many are known, all are forgotten."""

EDGE: Final = 3
"""Letters of a word's beginning or end that a text and a way of writing must share to be compared."""

SHORTEST_CUT: Final = 6
"""Letters that a cut-off text must have to be taken for the beginning of a name."""

BEGINNING: Final = 95.0
CUT_OFF: Final = 90.0
"""Similarity of a text that continues after a name, and of one that a bank cut off within it."""


@dataclass(frozen=True)
class Profile:
    """One merchant: its canonical name and the ways labels write it, as `models.budget.labels` cleans them."""

    name: str
    written: tuple[str, ...]

    @classmethod
    def read(cls, mapping: Mapping[str, Any]) -> "Profile":
        """Return what an archive holds."""
        return cls(str(mapping["name"]), tuple(mapping["written"]))


@dataclass(frozen=True)
class Found:
    """A merchant's canonical name, and how alike its way of writing is, from 0 to 100."""

    name: str
    similarity: float


class Merchants:
    """Known merchants.

    Parameters
    ----------
    profiles : iterable of Profile
        Where two are written alike, the first is found.
    least : float
        Similarity, from 0 to 100, below which no one is found.
    """

    def __init__(self, profiles: Iterable[Profile], least: float = 88.0) -> None:
        self.least = least
        self._exact: dict[str, str] = {}
        self._by_edge: dict[str, list[str]] = {}
        for profile in profiles:
            for way in profile.written:
                if way and way not in self._exact:
                    self._exact[way] = profile.name
                    for edge in _edges(way):
                        self._by_edge.setdefault(edge, []).append(way)
        self._sorted = sorted(self._exact)
        self._known: dict[str, Found | None] = {}

    def __len__(self) -> int:
        return len(set(self._exact.values()))

    def find(self, text: str) -> Found | None:
        """Return the merchant that a cleaned text means, or None.

        Parameters
        ----------
        text : str
            Of `models.budget.labels.parsed`.
        """
        if text in self._known:
            return self._known[text]
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        found = self._known[text] = self._search(text)
        return found

    def _search(self, text: str) -> Found | None:
        if (name := self._exact.get(text)) is not None:
            return Found(name, 100.0)
        words = text.split()
        for count in range(len(words) - 1, 0, -1):  # the longest beginning says most; a store's own words follow it
            if (name := self._exact.get(" ".join(words[:count]))) is not None:
                return Found(name, BEGINNING)
        if len(text) >= SHORTEST_CUT:
            at = bisect_left(self._sorted, text)
            if at < len(self._sorted) and self._sorted[at].startswith(text):
                return Found(self._exact[self._sorted[at]], CUT_OFF)
        near = {way: None for edge in _edges(text) for way in self._by_edge.get(edge, ())}
        best = process.extractOne(text, near.keys(), scorer=fuzz.ratio, processor=None, score_cutoff=self.least)
        return Found(self._exact[best[0]], round(float(best[1]), 1)) if best else None


def _edges(text: str) -> dict[str, None]:
    """Return beginnings and ends of words, in order: what is found may not depend on a set's."""
    return {edge: None for word in text.split() for edge in (f"{word[:EDGE]}-", f"-{word[-EDGE:]}")}

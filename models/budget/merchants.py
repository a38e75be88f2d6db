"""Which known merchant a cleaned label means, in spite of typing mistakes, cut-off ends and store numbers.

A profile is a canonical name and the ways it is written. A text is compared (Indel similarity; rapidfuzz) only with the
ways that share the beginning or the end of a word with it, about ten of many hundreds; what was found is remembered.
About 10 µs for a text not met before, 0.2 µs for one that was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rapidfuzz import fuzz

MOST_REMEMBERED: Final = 16_384
"""Texts whose merchant is kept; when so many are known, all are forgotten."""

EDGE: Final = 3
"""Letters of a word's beginning or end that a text and a way of writing must share to be compared."""

SHORTEST_CUT: Final = 6
"""Letters that a cut-off text must have to be taken for the beginning of a name."""


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
        Similarity, from 0 to 100, below which nobody is found.
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
        best, best_way = 0.0, ""
        for way in {way for edge in _edges(text) for way in self._by_edge.get(edge, ())}:
            likeness = max(fuzz.ratio(text, way, score_cutoff=self.least), self._beginning(text, way))
            # Of ways alike the longer one says more; the order of a set must decide nothing.
            if (likeness, len(way), way) > (best, len(best_way), best_way):
                best, best_way = likeness, way
        return Found(self._exact[best_way], round(best, 1)) if best >= self.least else None

    def _beginning(self, text: str, way: str) -> float:
        """Return how well one is the other's beginning: a store's own words follow, or the bank cut the label off."""
        if text.startswith(f"{way} "):
            return 95.0
        if len(text) >= SHORTEST_CUT and way.startswith(text):
            return 90.0
        return 0.0


def _edges(text: str) -> set[str]:
    return {edge for word in text.split() for edge in (f"{word[:EDGE]}-", f"-{word[-EDGE:]}")}

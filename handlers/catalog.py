"""The catalogue: a product's designation and description in, the most probable product codes out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handlers.answers import top_labels
from handlers.base import Handler, Outputs
from handlers.errors import InvalidError
from handlers.validation import text
from models.catalog.cleaning import Product, whole
from models.catalog.features import Vocabulary
from models.catalog.summary import summarise
from models.known_words import KnownWords
from models.text import words_of

MOST_HIDDEN = 40
"""Words that an explanation hides, one after the other."""


class Listing(NamedTuple):
    """The text that is read of a product, and whether some of it is a description."""

    text: str
    described: bool


class CatalogHandler(Handler[Listing]):
    """Answers `{"designation": "…", "description": "…" or null}`."""

    fields = frozenset({"designation", "description"})

    def opened(self, folder: Path) -> None:
        """Read the vocabulary, and have what is looked up in it ready before the first request."""
        family = json.loads((folder / "family.json").read_bytes())
        self._vocabulary = Vocabulary.from_text(family["vocabulary"])
        self._vocabulary.arrays(["a"])
        # An archive from before there were summaries has no words.
        self._words = KnownWords.from_text(family["words"]) if self.contract.summary else None

    def decode(self, fields: dict[str, Any]) -> Listing:
        """Validate a product and take its markup out; together its texts must hold a letter or a digit."""
        limits = self.contract.limits
        designation = text(fields, "designation", limits["designation"])
        description = text(fields, "description", limits["description"], None)
        read = whole(Product(designation, description))
        if not any(map(str.isalnum, read)):
            raise InvalidError("designation", "a text with a letter or a digit", f"a string of {len(designation)}")
        return Listing(read, bool(description))

    def size(self, item: Listing) -> int:
        """Return the number of characters: about as many n-grams are looked up."""
        return len(item.text)

    def prepare(self, items: Sequence[Listing]) -> dict[str, NDArray[Any]]:
        """Weigh the texts' known n-grams: ``indices`` int64 and ``weights`` float32, [N, K]."""
        return self._vocabulary.arrays([item.text for item in items])

    def phrase(self, outputs: Outputs, items: Sequence[Listing], top_k: Sequence[int]) -> list[Any]:
        """Return each product's codes, most probable first."""
        return top_labels(outputs["probabilities"], self.contract.labels, top_k)

    def summarise(self, items: Sequence[Listing], outputs: Outputs) -> NDArray[np.float32]:
        """Return what each product's text is like."""
        if self._words is None:
            return super().summarise(items, outputs)
        return summarise([item.text for item in items], [item.described for item in items], self._words)

    def explain(self, item: Listing) -> dict[str, Any]:
        """Attribute the winning code by occlusion (Zeiler & Fergus, 2014).

        Each of the first 40 distinct words is taken out in turn, wherever it stands; its attribution is the
        probability that the winning code loses. Costs up to 41 texts in one forward pass.
        """
        words = item.text.split()
        folded = [" ".join(words_of(word)) for word in words]
        first = {fold: word for fold, word in zip(reversed(folded), reversed(words), strict=True) if fold}
        hidden = [fold for fold in dict.fromkeys(folded) if fold][:MOST_HIDDEN]
        without = [
            " ".join(word for word, fold in zip(words, folded, strict=True) if fold != taken) for taken in hidden
        ]
        probabilities = self.engine.run(self._vocabulary.arrays([item.text, *without]))["probabilities"].astype(
            np.float64
        )
        winner = int(probabilities[0].argmax())
        lost = (probabilities[0, winner] - probabilities[1:, winner]).tolist()
        ranked = sorted(zip(hidden, lost, strict=True), key=lambda pair: -abs(pair[1]))
        return {
            "method": "occlusion: the word taken out wherever it stands",
            "label": self.contract.labels[winner],
            "attributions": {first[fold]: value for fold, value in ranked},
        }

"""The catalogue: a product's designation and description in, the most probable product codes out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.base import Handler, Outputs, top_labels
from handlers.errors import InvalidError
from handlers.fields import text
from models.catalog.cleaning import Product, whole
from models.catalog.features import Vocabulary
from models.text import words_of

MOST_HIDDEN = 40
"""Words that an explanation hides, one after the other."""


class CatalogHandler(Handler[str]):
    """Answers `{"designation": "…", "description": "…" or null}`; an item is the text that is read of a product."""

    fields = frozenset({"designation", "description"})

    def opened(self, folder: Path) -> None:
        """Read the vocabulary, and have what is looked up in it ready before the first request."""
        self._vocabulary = Vocabulary.from_text(json.loads((folder / "family.json").read_bytes())["vocabulary"])
        self._vocabulary.arrays(["a"])

    def decode(self, fields: dict[str, Any]) -> str:
        """Validate a product and take its markup out; together its texts must hold a letter or a digit."""
        limits = self.contract.limits
        designation = text(fields, "designation", limits["designation"])
        read = whole(Product(designation, text(fields, "description", limits["description"], None)))
        if not any(map(str.isalnum, read)):
            raise InvalidError("designation", "a text with a letter or a digit", f"a string of {len(designation)}")
        return read

    def size(self, item: str) -> int:
        """Return the number of characters: about as many n-grams are looked up."""
        return len(item)

    def prepare(self, items: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Weigh the texts' known n-grams: ``indices`` int64 and ``weights`` float32, [N, K]."""
        return self._vocabulary.arrays(items)

    def phrase(self, outputs: Outputs, items: Sequence[str], top_k: Sequence[int]) -> list[Any]:
        """Return each product's codes, most probable first."""
        return top_labels(outputs["probabilities"], self.contract.labels, top_k)

    def explain(self, item: str) -> dict[str, Any]:
        """Attribute the winning code by occlusion (Zeiler & Fergus, 2014).

        Each of the first 40 distinct words is taken out in turn, wherever it stands; its attribution is the
        probability that the winning code loses. Costs up to 41 texts in one forward pass.
        """
        words = item.split()
        folded = [" ".join(words_of(word)) for word in words]
        first = {fold: word for fold, word in zip(reversed(folded), reversed(words), strict=True) if fold}
        hidden = [fold for fold in dict.fromkeys(folded) if fold][:MOST_HIDDEN]
        without = [
            " ".join(word for word, fold in zip(words, folded, strict=True) if fold != taken) for taken in hidden
        ]
        probabilities = self.engine.run(self.prepare([item, *without]))["probabilities"].astype(np.float64)
        winner = int(probabilities[0].argmax())
        lost = (probabilities[0, winner] - probabilities[1:, winner]).tolist()
        ranked = sorted(zip(hidden, lost, strict=True), key=lambda pair: -abs(pair[1]))
        return {
            "method": "occlusion: the word taken out wherever it stands",
            "label": self.contract.labels[winner],
            "attributions": {first[fold]: value for fold, value in ranked},
        }

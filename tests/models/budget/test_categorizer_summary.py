import numpy as np

from models.budget.categorizer_summary import SUMMARY, summarise
from models.budget.labels import CARD, CHEQUE, parsed
from models.known_words import KnownWords


def test_a_transaction_is_described_without_its_label() -> None:
    labels = parsed(["CARTE 12/03 CARREFOUR CITY", "CHEQUE 1234567"])
    found = summarise(labels, np.array([-42.5, -80.0]), KnownWords.fit(["CARREFOUR MARKET"]))
    first, second = (dict(zip(SUMMARY, row.tolist(), strict=True)) for row in found)
    assert (first["amount"], first["operation"], first["words"], first["known"]) == (-42.5, CARD, 2, 0.5)
    assert first["characters"] == len("CARREFOUR CITY") and first["nameless"] == 0
    assert (second["operation"], second["words"], second["characters"], second["nameless"]) == (CHEQUE, 0, 0, 1)
    assert np.isnan(second["known"])

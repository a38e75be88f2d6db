import numpy as np

from models.catalog.summary import SUMMARY, summarise
from models.known_words import KnownWords

WORDS = KnownWords.fit(["Café crème 250 g"])


def test_a_text_is_described_without_its_words() -> None:
    [first, second] = summarise(["CAFÉ 25", "日本 x"], [True, False], WORDS)
    said = dict(zip(SUMMARY, first.tolist(), strict=True))
    assert (said["characters"], said["words"], said["known"], said["described"]) == (7, 2, 0.5, 1)
    np.testing.assert_allclose(
        [said["capitals"], said["digits"], said["beyond_ascii"]], [3 / 7, 2 / 7, 1 / 7], rtol=1e-6
    )
    assert dict(zip(SUMMARY, second.tolist(), strict=True))["beyond_ascii"] == 0.5


def test_a_text_of_signs_has_no_share_of_known_words() -> None:
    [found] = summarise(["!?"], [False], WORDS)
    assert np.isnan(found[SUMMARY.index("known")]) and found[SUMMARY.index("words")] == 0


def test_each_text_is_summarised_as_it_is_alone() -> None:
    texts = ["Café", "CARNET À SPIRALE A4", "x" * 2000, "\ud800 y"]
    alone = [summarise([text], [False], WORDS)[0] for text in texts]
    np.testing.assert_array_equal(summarise(texts, [False] * 4, WORDS), np.stack(alone))

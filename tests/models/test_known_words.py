import numpy as np
import pytest

from models.known_words import KnownWords

MET = ["Piscine ronde", "carnet à spirale", "ronde"]


def test_the_share_of_a_texts_words_that_were_met() -> None:
    words, known = KnownWords.fit(MET).count(["PISCINE A carrée", "Spielzeug Kinder", "", "!?", "ronde ronde"])
    assert words.tolist() == [3, 2, 0, 0, 1]
    np.testing.assert_allclose(known, [2 / 3, 0, np.nan, np.nan, 1], rtol=1e-6)
    assert known.dtype == np.float32


def test_words_come_back_from_their_text() -> None:
    words = KnownWords.fit(MET, buckets=1 << 10)
    again = KnownWords.from_text(words.to_text())
    assert len(again.bits) == 128
    np.testing.assert_array_equal(again.bits, words.bits)


@pytest.mark.parametrize("text", ["?", "AAA=AAAA", "AAAA"], ids=["no base64", "base64 that ends early", "24 buckets"])
def test_what_is_no_text_of_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        KnownWords.from_text(text)


def test_few_of_the_words_that_were_never_met_pass_for_known() -> None:
    words = KnownWords.fit([f"mot{number}" for number in range(2000)])
    _, known = words.count([" ".join(f"andere{number}" for number in range(2000))])
    assert known[0] < 0.03

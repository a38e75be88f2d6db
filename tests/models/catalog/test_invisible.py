"""The same product, written with what is not seen: it is read, weighed and answered as the plain one."""

import unicodedata

import numpy as np
import pytest

from models.catalog.cleaning import Product, cleaned, whole
from models.catalog.features import looked_at, shape

PLAIN = "Piscine ronde été 3,60 m; échelle, Crème & filtre Français"


def shifted(text: str, by: int) -> str:
    return "".join(chr(ord(letter) + by) for letter in text)


SPELLINGS = {
    "soft hyphens": PLAIN.replace("Piscine", "Pis\u00adci\u00adne"),
    "soft hyphens by name": PLAIN.replace("Piscine", "Pis&shy;cine").replace("ronde", "ron&#173;de"),
    "soft hyphens escaped twice": PLAIN.replace("Piscine", "Pis&amp;shy;cine"),
    "spaces without width": PLAIN.replace("ronde", "ro\u200bnde").replace("échelle", "échel\u200ble"),
    "spaces without width by number": PLAIN.replace("ronde", "ro&#8203;nde&#x200B;"),
    "spaces without width by name": PLAIN.replace("ronde", "ro&ZeroWidthSpace;nde"),
    "joiners": PLAIN.replace("filtre", "fil\u200dtre\u200c").replace("Piscine", "\u2060Piscine"),
    "a byte order mark": "\ufeff" + PLAIN.replace("ronde", "ron\ufeffde"),
    "marks of direction": PLAIN.replace("ronde", "\u202aronde\u202c").replace("Piscine", "\u200ePiscine\u200f"),
    "variation selectors": PLAIN.replace("ronde", "ro\ufe0fnde"),
    "accents of their own": unicodedata.normalize("NFD", PLAIN),
    "accents of their own by number": PLAIN.replace("été", "e&#769;te&#x301;"),
    "full width": PLAIN.replace("Piscine", shifted("Piscine", 0xFEE0)).replace("3,60", shifted("3,60", 0xFEE0)),
    "a space of full width": PLAIN.replace("Piscine ronde", "Piscine\u3000ronde"),
    "ligatures": PLAIN.replace("filtre", "ﬁltre"),
    "letters for formulas": PLAIN.replace("ronde", shifted("ronde", 0x1D41A - ord("a"))),
    "spaces that do not break": PLAIN.replace(" ", "\u00a0", 3).replace("3,60 m", "3,60\u202fm"),
    "spaces that do not break by name": PLAIN.replace(" ", "&nbsp;", 3),
    "breaks within a word": PLAIN.replace("Piscine", "Pis<wbr>ci<WBR/>ne"),
    "entities": PLAIN.replace("é", "&eacute;").replace("&", "&", 1),
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_a_text_is_cleaned_to_the_same(how: str) -> None:
    assert cleaned(SPELLINGS[how]) == PLAIN


@pytest.mark.parametrize("how", SPELLINGS)
def test_all_views_of_a_product_are_the_same(how: str) -> None:
    read = [whole(Product(PLAIN, "bassin")), whole(Product(SPELLINGS[how], "bas\u00adsin"))]
    for offsets, buckets, counts in looked_at(read):
        first, second = slice(offsets[0], offsets[1]), slice(offsets[1], offsets[2])
        np.testing.assert_array_equal(buckets[first], buckets[second])
        np.testing.assert_array_equal(counts[first], counts[second])


def test_what_is_seen_still_tells_texts_apart() -> None:
    assert cleaned("Été…™ № 12") == "Été…™ № 12"
    assert shape("PISCINE 12") != shape("piscine 12")
    assert cleaned("a-b c_d") == "a-b c_d"

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalog.cleaning import MOST_READ, Product, cleaned, whole
from tests.timing import best_of


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("<p>un</p><p>deux</p>", "un deux"),
        ("un<br />deux<BR>trois", "un deux trois"),
        ('<span style="color:red">rouge</span>', "rouge"),
        ("caf&eacute; &amp;egrave; &#39;&#x27;", "café è ''"),
        ("un&nbsp;deux\t\n trois", "un deux trois"),
        ("3 < 4 et R&D", "3 < 4 et R&D"),
        ("fin <strong cla", "fin"),
        ("cœur et Æsop", "coeur et AEsop"),
        ("<!-- caché -->visible", "visible"),
        ("&unknown; &#9999999;", "&unknown; \ufffd"),
    ],
)
def test_markup_is_taken_out_and_words_stay_apart(sent: str, read: str) -> None:
    assert cleaned(sent) == read


@given(st.text(max_size=200))
def test_any_text_becomes_one_line_without_double_spaces(text: str) -> None:
    read = cleaned(text)
    assert read == " ".join(read.split())


def test_designation_and_description_are_read_in_this_order() -> None:
    assert whole(Product("Piscine", "<b>ronde</b>")) == "Piscine ronde"
    assert whole(Product("Piscine")) == whole(Product("Piscine", "")) == "Piscine"


@pytest.mark.parametrize("text", ["a" * 5_000_000, "<" * 1_000_000, "&" * 1_000_000, "<a" * 500_000, "&amp;" * 500_000])
def test_a_text_of_any_length_is_bounded_and_read_at_once(text: str) -> None:
    products = Product("Piscine", text), Product(text, text)
    assert all(len(whole(product)) <= MOST_READ for product in products)
    assert best_of(3, lambda: [whole(product) for product in products]) < 0.5

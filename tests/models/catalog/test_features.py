import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalog.features import BUCKETS, SHAPED, SHARES, Vocabulary, head, shape

TEXTS = [
    "Piscine Ronde 3,60 m",
    "Piscine hors sol",
    "Carnet A4 (N° 12)",
    "carnet à spirale A4",
    "Livre ancien [1882]",
] * 2


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.fit(TEXTS)


def test_each_view_has_its_share_of_the_squared_length(vocabulary: Vocabulary) -> None:
    for name, (offsets, _, weights) in vocabulary.parts(TEXTS).items():
        rows = np.repeat(np.arange(len(TEXTS)), np.diff(offsets))
        assert np.bincount(rows, weights=weights**2.0) == pytest.approx(SHARES[name], rel=1e-5)
    assert sum(SHARES.values()) == pytest.approx(1)


def test_unknown_words_are_left_out(vocabulary: Vocabulary) -> None:
    offsets, rows, _ = vocabulary.parts(["Piscine", "Piscine zzzzqqqq"])["words"]
    alone, beside = (rows[offsets[k] : offsets[k + 1]].tolist() for k in (0, 1))
    assert alone == beside != []


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_text_is_weighed_alike_alone_and_among_others(texts: list[str]) -> None:
    known = Vocabulary.fit(TEXTS)
    offsets, rows, weights = known.bag(texts)
    for place, text in enumerate(texts):
        _, own_rows, own_weights = known.bag([text])
        mine = slice(offsets[place], offsets[place + 1])
        assert rows[mine].tolist() == own_rows.tolist()
        assert weights[mine].tolist() == own_weights.tolist()


def test_a_vocabulary_survives_being_written_down(vocabulary: Vocabulary) -> None:
    read = Vocabulary.from_text(vocabulary.to_text())
    assert read.levels.tolist() == vocabulary.levels.tolist()
    with pytest.raises(ValueError, match=str(BUCKETS)):
        Vocabulary.from_text("AAAA")


def test_what_few_texts_have_is_not_known(vocabulary: Vocabulary) -> None:
    once = Vocabulary.fit([*TEXTS, "unique"])
    assert once.size == vocabulary.size
    assert Vocabulary.fit([*TEXTS, "unique"], least=1).size > vocabulary.size


def test_rare_ngrams_weigh_more() -> None:
    texts = ["livre chat", "livre chien", "livre chat", "livre", "livre", "livre chien"]
    vocabulary = Vocabulary.fit(texts)
    levels = vocabulary.levels[vocabulary.levels > 0]
    assert levels.min() == 1 and levels.max() > 1
    assert vocabulary.rarity[vocabulary.levels == 1] == pytest.approx(1)


def test_the_graph_gets_rectangular_arrays(vocabulary: Vocabulary) -> None:
    arrays = vocabulary.arrays([*TEXTS, "", "!?"])
    assert arrays["indices"].dtype == np.int64 and arrays["weights"].dtype == np.float32
    assert arrays["indices"].shape == arrays["weights"].shape
    assert not arrays["weights"][-2:, 20:].any()


@pytest.mark.parametrize(
    ("text", "written"),
    [("Abc DEF ghi", "ul u l"), ("12,5 cm", "d p2c d l"), ("[É]", "p5b u p5d"), ("日本", "l"), ("🐈", "p1f408")],
)
def test_the_shape_says_how_a_text_is_written(text: str, written: str) -> None:
    assert shape(text).split()[:-3] == written.split()


def test_head_and_shape_read_no_further_than_they_say() -> None:
    assert head("un deux " * 500) == " ".join(["un deux"] * 6)
    assert shape("A" * SHAPED + "1" * 300).split()[0] == "u"

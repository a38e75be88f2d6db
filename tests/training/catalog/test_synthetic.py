import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import f1_score
from sklearn.svm import LinearSVC

from training.catalog.synthetic.listings import Synthesis, generate
from training.catalog.synthetic.word_lists import KINDS
from training.data import splits


@pytest.fixture(scope="module")
def catalogue() -> pd.DataFrame:
    return generate(Synthesis(products=3000))


def test_equal_options_make_equal_catalogues() -> None:
    small = Synthesis(products=60)
    assert generate(small).equals(generate(small))
    assert not generate(small).equals(generate(Synthesis(products=60, seed=1)))


def test_codes_are_all_there_and_unequal(catalogue: pd.DataFrame) -> None:
    counts = catalogue["code"].value_counts()
    assert set(counts.index) == set(KINDS) and len(KINDS) == 27
    assert counts.iloc[0] > 5 * counts.iloc[-1]


def test_a_third_has_no_description(catalogue: pd.DataFrame) -> None:
    assert (catalogue["description"] == "").mean() == pytest.approx(0.35, abs=0.05)


def test_texts_are_as_sellers_send_them(catalogue: pd.DataFrame) -> None:
    texts = catalogue["description"]
    assert texts.str.contains("<br").mean() > 0.05
    assert texts.str.contains("&eacute;|&nbsp;").mean() > 0.02
    assert set(catalogue["language"]) == {"fr", "en", "de", "es"}
    assert catalogue["family"].duplicated().mean() == pytest.approx(0.12, abs=0.04)


def test_titles_word_by_word_do_not_tell_the_codes(catalogue: pd.DataFrame) -> None:
    codes = catalogue["code"].to_numpy().astype(str)
    train, test = splits.holdout(catalogue["family"].to_numpy().astype(str), 0.3)
    words = CountVectorizer(binary=True)
    model = LinearSVC(C=0.1).fit(words.fit_transform(catalogue["designation"].iloc[train]), codes[train])
    said = model.predict(words.transform(catalogue["designation"].iloc[test]))
    assert 0.5 < f1_score(codes[test], said, average="weighted") < 0.75


def test_every_neighbour_is_a_code() -> None:
    assert {near for kind in KINDS.values() for near in kind.near} <= set(KINDS)
    assert np.isclose(sum(kind.share for kind in KINDS.values()), 100, atol=15)

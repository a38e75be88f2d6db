import numpy as np
import pytest

from training.data.near_duplicates import groups, united


def words(count: int, seed: int) -> str:
    return " ".join(f"mot{k}" for k in np.random.default_rng(seed).integers(0, 5000, count))


def test_copies_and_near_copies_share_a_group() -> None:
    text = words(30, 0)
    texts = [words(30, 1), text, words(30, 2), text.upper() + "!", text.replace("mot1", "mot2", 1) + " rouge"]
    found = groups(texts)
    assert found[1] == found[3] == found[4]
    assert len(set(found.tolist())) == 3


def test_texts_that_share_a_few_words_do_not() -> None:
    shared = "livraison rapide et soignee"
    texts = [f"{words(12, seed)} {shared}" for seed in range(40)]
    assert len(set(groups(texts).tolist())) == 40


def test_every_pair_beyond_the_similarity_is_found() -> None:
    # 300 texts of 40 words, each with a copy of which six words are others: similarity about 0.6
    chance = np.random.default_rng(0)
    texts = []
    for seed in range(300):
        original = words(40, seed).split()
        copy = list(original)
        for place in chance.choice(40, 6, replace=False):
            copy[place] = f"autre{seed}x{place}"
        texts += [" ".join(original), " ".join(copy)]
    found = groups(texts).reshape(300, 2)
    assert (found[:, 0] == found[:, 1]).mean() > 0.99
    assert len(set(found.ravel().tolist())) >= 300


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    text = words(45, 3).split()
    chain = [" ".join(text[at : at + 30]) for at in (0, 7, 14)]
    assert len(set(groups(chain).tolist())) == 1
    assert len(set(groups([chain[0], chain[2]]).tolist())) == 2


@pytest.mark.parametrize("texts", [[], [""], ["", "!?", ""], ["un", "", "un"]])
def test_texts_without_words_stand_alone(texts: list[str]) -> None:
    found = groups(texts)
    empty = [index for index, text in enumerate(texts) if not text.strip("!?")]
    assert found[empty].tolist() == empty
    assert len(found) == len(texts)


def test_a_group_bears_the_index_of_its_first_member() -> None:
    assert groups(["un deux trois", "quatre", "un deux trois", "quatre"]).tolist() == [0, 1, 0, 1]


def test_many_copies_of_one_text_are_one_group() -> None:
    texts = [words(20, 0)] * 300 + [words(20, 1)] * 5
    assert np.unique(groups(texts)).tolist() == [0, 300]


def test_united_groups_join_what_either_grouping_joins() -> None:
    first, second = np.array([0, 0, 2, 3, 3]), np.array([0, 1, 1, 3, 4])
    assert united(first, second).tolist() == [0, 0, 0, 3, 3]

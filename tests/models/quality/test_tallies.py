import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.quality import measures as plain
from models.quality.answers import LINES, VALUE, Amount, Parts, impact_of, read_parts
from models.quality.kinds import KINDS, Kind, kind_of, kind_of_answer
from models.quality.tallies import Tally, Truth, add_to, measures, overlap_of, tally, tally_label


def loss_of(kind: Kind, parts: Parts, truth: Truth) -> float | None:
    found = tally(kind, parts, truth)
    return found["loss", ""] if found["answers", ""] else None


def test_f1_of_all_questions_is_that_of_the_share_that_overlaps() -> None:
    sums: Tally = Counter()
    for said, true in (((1, 1, 0), (1, 0, 0)), ((0, 1, 0), (1, 1, 0)), ((1, 0, 0), (0, 0, 1))):
        parts = {str(at): bool(one) for at, one in enumerate(said)}
        add_to(sums, tally("questions", parts, {str(at): bool(one) for at, one in enumerate(true)}))
    hits, alarms = overlap_of("questions", sums)
    assert (hits, alarms) == (2, 6) and overlap_of("label", tally_label("a", "a")) == (0, 0)
    assert measures("questions", sums)["pooled_f1"] == pytest.approx(float(plain.f1_of_overlap(hits / alarms))) == 0.5


JUNK: list[object] = [
        None, True, 7, "text", [], {}, [[]], [None], {"label": 3}, [{"label": None}], {"transactions": {}},
        {"transactions": [None, {"verdict": 3}]}, {"categories": [None, {"name": 4}, {"name": "a"}]},
        {"categories": [{"name": "a", "forecast_eur": True}]}, {"value": "0.4"}, {"value": None}]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", JUNK, ids=json.dumps)
def test_of_what_is_no_answer_nothing_is_read(kind: Kind, answer: object) -> None:
    assert not any(read_parts(kind, answer).values())
    assert loss_of(kind, read_parts(kind, answer), {"": "a", "value": 1.0, "0": True}) is None or kind == "rows"
    assert kind_of_answer(answer) in (None, *KINDS)


@pytest.mark.parametrize(
    ("task", "labels", "thresholds", "kind"),
    [
        ("classification", ("a", "b", "c"), (), "label"),
        ("classification", ("sound", "risky"), ("risky",), "label"),
        ("anomaly", ("usual", "anomalous"), ("anomalous",), "label"),
        ("classification", ("q1", "q2"), ("q1", "q2", "q1.S2"), "questions"),
        ("anomaly", (), ("suspicious",), "rows"),
        ("regression", (), (), "numbers"),
    ],
)
def test_the_kind_of_truth_follows_from_the_contract(
    task: str, labels: tuple[str, ...], thresholds: tuple[str, ...], kind: Kind
) -> None:
    assert kind_of(task, labels, thresholds) == kind


def test_a_question_whose_state_holds_already_is_not_held_against_an_answer() -> None:
    answer = [
        {"label": "a", "alert": False, "already": True}, {"label": "b", "alert": True, "already": False},
        {"label": "c", "alert": False, "already": False},
    ]  # fmt: skip
    parts = read_parts("questions", answer)
    assert parts == {"a": None, "b": True, "c": False}
    assert loss_of("questions", parts, {"a": True}) is None
    assert loss_of("questions", parts, {"a": True, "b": True}) == 0
    assert loss_of("questions", parts, {"b": False, "c": False, "d": True}) == 0.5


def test_losses_are_from_0_to_1() -> None:
    euros = {"a": Amount(100.0, 80.0, 120.0), "b": Amount(10.0, 5.0, 15.0)}
    assert loss_of("numbers", euros, {"a": 100.0}) == 0
    assert loss_of("numbers", euros, {"a": 80.0, "b": 20.0}) == pytest.approx(0.3)
    assert loss_of("numbers", euros, {"b": 0.0}) == 0.5  # of 20 euros at least
    assert loss_of("numbers", euros, {"a": -1e9}) == 1
    assert loss_of("numbers", {VALUE: Amount(0.25, is_share=True)}, {VALUE: 1.0}) == 0.75
    assert loss_of("label", {"": "a"}, {"": "a"}) == 0 and loss_of("label", {"": "a"}, {"": "b"}) == 1
    assert impact_of(0) == 0 and impact_of(10_000) == 1 == impact_of(1e9) and LINES == "lines"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=60), st.randoms())
def test_sums_of_parts_are_sums_of_the_whole(pairs: list[tuple[str, str]], chance: random.Random) -> None:
    whole: Tally = Counter()
    parts: list[Tally] = [Counter(), Counter(), Counter()]
    for said, true in pairs:
        add_to(whole, tally("label", {"": said}, {"": true}))
        add_to(chance.choice(parts), tally_label(said, true))
    together: Tally = Counter()
    for part in parts:
        add_to(together, part)
    found = measures("label", whole)
    assert measures("label", together) == found
    assert found["accuracy"] == pytest.approx(sum(said == true for said, true in pairs) / len(pairs))
    assert found["loss"] == pytest.approx(1 - found["accuracy"])


def test_measures_of_nothing_are_left_out() -> None:
    for kind in KINDS:
        assert measures(kind, Counter()) == {}
    said_nothing = tally("rows", {"0": False}, {"0": False})
    assert measures("rows", said_nothing) == {"loss": 0.0, "accuracy": 1.0, "false_positive_rate": 0.0}
    small = tally("numbers", {"a": Amount(3.0)}, {"a": 5.0})
    assert measures("numbers", small) == {"loss": 0.1, "rmse": 2.0, "mae": 2.0, "wape": 0.4}


def test_f1_of_nothing_is_0_and_rates_of_nothing_are_not_there() -> None:
    assert plain.f1([0, 2], [0, 2], [0, 4]).tolist() == [0.0, pytest.approx(2 / 3)]
    assert str(plain.precision(0, 0)) == "nan" and str(plain.false_positive_rate(1, 1, 1, 1)) == "nan"

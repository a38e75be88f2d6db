"""Clients are looked at more and more seldom, each look once, and none of them counts for much."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.rollout import interim_looks
from marina.rollout.interim_looks import Observed, Paired
from marina.rollout.judge import client_ranks
from marina.rollout.judge.client_looks import behind, log_part, losing
from marina.rollout.judge.evidence import Look


def test_looks_are_due_when_half_as_many_requests_again_have_come() -> None:
    assert [interim_looks.due_at(number, 0.05) for number in range(4)] == [200, 300, 450, 675]
    assert [interim_looks.number(requests, 0.05) for requests in (0, 199, 200, 299, 300, 449, 10_000)] == [
        -1,
        -1,
        0,
        0,
        1,
        1,
        9,
    ]
    assert interim_looks.due_at(0, 0.5) == 20 and interim_looks.due_at(0, 0.95) == 200
    assert interim_looks.number(15, 1.0) == 1  # all of them are the canary's


def test_all_looks_together_have_one_error_budget() -> None:
    parts = [math.exp(log_part(number)) for number in range(10_000)]
    assert parts[0] == pytest.approx(1 / 7) and parts == sorted(parts, reverse=True)
    assert 0.999 < sum(parts) < 1


def test_clients_that_fare_worse_are_in_higher_classes() -> None:
    observed = [
        Observed(True, 5, 10, 1),
        Observed(True, 1, 10, 1),
        Observed(True, 0, 10, 1),
        Observed(False, 0, 1000, 3),
        Observed(False, 0, 10, 2),
    ]
    look = interim_looks.by_rate(4, observed)
    assert look.number == 4 and look.canary.clients == 3 and look.stable.clients == 5
    (clean, _), (some, _), (many, _) = look.canary.fared
    assert dict(look.stable.fared)[clean] == 2 and look.stable.fared[0][0] < clean < some < many
    assert look.canary.of == 30 and look.canary.wrong == 6
    assert look.stable.of == 3 * interim_looks.MOST + 20  # no client counts for more where requests are counted


def test_who_met_one_failure_in_one_request_has_not_fared_worst() -> None:
    once, often = (interim_looks.rate_class(wrong, of, 0.01) for wrong, of in ((1, 1), (20, 60)))
    assert once < often


def test_nothing_is_shown_where_one_version_has_no_clients_or_nothing_went_wrong() -> None:
    assert behind(None) == 0.0
    for observed in (
        [Observed(True, 5, 5, 9)],
        [Observed(False, 5, 5, 9)],
        [Observed(True, 0, 5, 2), Observed(False, 0, 5, 90)],
        [],
    ):
        assert behind(interim_looks.by_rate(0, observed)) <= 0


def test_the_canarys_clients_being_the_worst_of_all_is_evidence_and_of_one_alone_is_little() -> None:
    rest = Observed(False, 0, 20, 380)
    assert behind(interim_looks.by_rate(0, [Observed(True, 2, 20, 20), rest])) > 40
    assert behind(interim_looks.by_rate(0, [Observed(True, 20, 20, 1), Observed(True, 0, 20, 19), rest])) < math.log(20)
    assert behind(interim_looks.by_rate(0, [Observed(True, 2, 20, 20), Observed(False, 2, 20, 380)])) <= 0


crowds = st.lists(
    st.builds(Observed, st.booleans(), st.integers(0, 30), st.integers(30, 200), st.integers(1, 5)),
    min_size=2,
    max_size=30,
)


@settings(deadline=None, max_examples=300)
@given(crowds, st.integers(0, 10**6), st.integers(1, 10**6), st.data())
def test_whatever_one_client_does_moves_the_evidence_by_a_bounded_amount(
    observed: list[Observed], wrong: int, of: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(observed) - 1))
    one = observed[place]._replace(clients=1)
    rest = [*observed[:place], observed[place]._replace(clients=observed[place].clients - 1), *observed[place + 1 :]]
    rest = [each for each in rest if each.clients]
    changed = one._replace(wrong=min(wrong, of), of=of)
    before, after = (
        _found([each for each in rest if each.canary], [each for each in rest if not each.canary], who)
        for who in (one, changed)
    )
    clients = sum(each.clients for each in observed)
    assert abs(after - before) <= 2 * math.log(clients) + 4


def _found(canary: list[Observed], stable: list[Observed], one: Observed) -> float:
    """Return the evidence where every other client stays in its class (the usual share is kept)."""
    everyone = [*canary, *stable, one]
    classes = [int(interim_looks.rate_class(each.wrong, each.of, 0.05)) for each in everyone]
    names = sorted(set(classes))
    counts = np.zeros((2, len(names)))
    for each, key in zip(everyone, classes, strict=True):
        counts[int(each.canary), names.index(key)] += each.clients
    return float(client_ranks.behind(counts[0], counts[1]))


def test_a_client_counts_in_pairs_by_what_it_lost_and_no_more_than_by_a_toss() -> None:
    one = interim_looks.by_pairs(0, [Paired(500, 0, 500, 1)])
    assert 0 < losing(one) - log_part(0) < math.log(2) + 1e-9
    assert losing(interim_looks.by_pairs(0, [Paired(3, 1, 20, 30)])) > 10
    assert losing(interim_looks.by_pairs(0, [Paired(3, 1, 20, 30)]), -1) <= 0
    even = interim_looks.by_pairs(0, [Paired(3, 1, 20, 30), Paired(1, 3, 20, 30)])
    assert losing(even) <= 0 and even.canary.wrong == 120 == even.stable.wrong and even.canary.of == 1200


def test_a_look_survives_json() -> None:
    look = interim_looks.by_rate(3, [Observed(True, 5, 10, 1), Observed(False, 0, 1000, 3), Observed(False, 1, 70, 2)])
    assert Look.from_dict(look.to_dict()) == look


def test_a_sample_drawn_without_regard_to_how_clients_fare_is_seldom_taken_for_one_that_fares_worse() -> None:
    rng = np.random.default_rng(4)
    fared = np.repeat(np.arange(6), [900, 60, 20, 10, 6, 4])  # most are fine, a few fare badly
    counts = np.stack(
        [np.bincount(rng.choice(fared, size, replace=False), minlength=6) for size in (20, 50) for _ in range(5000)]
    ).astype(float)
    found = client_ranks.behind(np.bincount(fared) - counts, counts)
    for alpha in (0.1, 0.05, 0.01, 0.001):
        assert (found >= -math.log(alpha)).mean() <= alpha

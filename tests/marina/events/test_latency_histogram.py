import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.events.latency_histogram import add, bucket, from_json, quantile, slower, to_json

LATENCIES = st.lists(st.floats(0.0, 60_000.0), min_size=1, max_size=200)


def counted(latencies: list[float]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for ms in latencies:
        counts = add(counts, {bucket(ms): 1})
    return counts


@given(LATENCIES, LATENCIES, LATENCIES)
def test_parts_merge_in_any_order_to_what_all_together_give(
    one: list[float], two: list[float], three: list[float]
) -> None:
    whole = counted(one + two + three)
    assert add(add(counted(one), counted(two)), counted(three)) == whole
    assert add(counted(three), add(counted(two), counted(one))) == whole
    assert sum(whole.values()) == len(one + two + three)


@given(LATENCIES, st.floats(0, 1))
def test_a_quantile_is_within_one_percent(latencies: list[float], q: float) -> None:
    exact = sorted(latencies)[math.floor(q * (len(latencies) - 1))]
    estimated = quantile(counted(latencies), q)
    if exact > 1:
        assert estimated == pytest.approx(exact, rel=0.0101)
    else:
        assert estimated <= 1


@given(LATENCIES, st.floats(1.0, 60_000.0))
def test_slower_answers_are_counted_to_within_a_bucket(latencies: list[float], limit: float) -> None:
    counts = counted(latencies)
    assert slower(counts, limit) <= sum(ms > limit for ms in latencies)
    assert slower(counts, limit) >= sum(ms > limit * 1.0201 for ms in latencies)


def test_a_quantile_lies_in_the_bucket_it_came_from() -> None:
    for key in range(1, 700):
        assert bucket(quantile({key: 1}, 0.5)) == key


@given(LATENCIES)
def test_text_carries_counts_and_is_the_same_for_equal_counts(latencies: list[float]) -> None:
    counts = counted(latencies)
    assert from_json(to_json(counts)) == counts
    assert to_json(dict(reversed(counts.items()))) == to_json(counts)


def test_what_is_no_latency_at_all() -> None:
    assert bucket(0.0) == bucket(-3.0) == bucket(1.0) == 0
    assert bucket(1.0001) == 1
    with pytest.raises(ValueError, match="no latencies"):
        quantile({}, 0.5)
    assert slower({}, 10) == 0

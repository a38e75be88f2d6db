import pytest

from benchmarks.overload import REFUSALS, measure

pytestmark = pytest.mark.slow


@pytest.mark.timeout(300)
def test_a_model_that_is_asked_for_far_more_than_it_can_answer_goes_on_answering_what_it_can() -> None:
    for seen in measure([40, 150], seconds=8):
        assert seen.good_per_s > 8  # of 10
        assert seen.failed == seen.without_hint == 0
        assert seen.percentile(100, 200) < 15
    assert seen.count(*REFUSALS) > 0
    assert seen.percentile(50, *REFUSALS) < 1

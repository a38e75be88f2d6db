from archives.contract import MOST_SUMMARISED
from models.code_health.features import NAMES, READS
from models.code_health.summary import KEY, summary_of
from models.ranges import MISSING_SHARE


def test_a_model_is_summarised_by_what_it_reads() -> None:
    assert {*KEY} <= {*NAMES}
    for features in READS.values():
        names = summary_of(features)
        assert {*names} <= {*features, MISSING_SHARE} and 10 <= len(names) <= MOST_SUMMARISED

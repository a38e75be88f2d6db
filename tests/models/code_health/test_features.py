from collections import Counter
from pathlib import Path

import pytest

from models.code_health.features import CHANGE, FEATURES, NAMES, READS, WIDTH, Feature, columns


def test_there_are_12_git_15_code_and_8_temporal_features() -> None:
    assert Counter(feature.group for feature in FEATURES) == {"git": 12, "code": 15, "temporal": 8}
    assert WIDTH == 35 == len(set(NAMES))


def test_the_groups_stand_together_in_a_row() -> None:
    groups = [feature.group for feature in FEATURES]
    assert groups == sorted(groups, key=["git", "code", "temporal"].index)


def test_each_model_reads_as_many_features_as_its_product_asks_for() -> None:
    counts = {"code_risk": 28, "code_anomaly": 15, "code_bugs": 22, "code_impact": 31, "code_meta": 35}
    assert {model: len(names) for model, names in READS.items()} == counts


@pytest.mark.parametrize("model", READS)
def test_a_model_reads_known_features_in_column_order(model: str) -> None:
    places = columns(READS[model]).tolist()
    assert places == sorted(set(places))


def test_models_of_changes_read_what_just_in_time_data_records() -> None:
    assert set(CHANGE) <= set(READS["code_bugs"])
    assert len(CHANGE) == 13


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(KeyError, match="churn"):
        columns(["files", "churn"])


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_every_feature_says_what_it_is(feature: Feature) -> None:
    assert feature.definition
    assert feature.unit
    assert feature.scope in {"file", "project"}


PAGE = Path(__file__).parents[3] / "docs" / "families" / "code_health_features.md"


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_the_page_defines_every_feature_as_the_table_does(feature: Feature) -> None:
    read_by = " ".join(model.removeprefix("code_")[0] for model in READS if feature.name in READS[model])
    said = (f"`{feature.name}`", feature.unit, feature.scope, feature.definition, feature.source, read_by)
    assert f"| {' | '.join(said)} |" in PAGE.read_text().splitlines()

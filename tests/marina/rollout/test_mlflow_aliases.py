"""MLflow's aliases are those that the ledger and the open rollout imply."""

import pytest

from marina.database.connection import Database
from marina.rollout import rollouts
from marina.rollout.mlflow_aliases import names
from tests.marina.rollout.releases import NOW, Releases, bad, begin, candidate, good, policy, serve


@pytest.fixture
def releases(database: Database) -> Releases:
    serve(database)
    return Releases(database)


def aliases(releases: Releases) -> dict[str, str]:
    with releases.database.reading() as connection:
        return {alias: version for alias, version in names(connection, "sums").items() if version}


def test_a_canary_becomes_champion_when_its_rollout_is_done(releases: Releases) -> None:
    assert aliases(releases) == {"champion": "1.0"}
    begin(releases.database)
    good(releases.database)
    releases.run(140)
    assert aliases(releases) == {"champion": "1.0", "canary": "2.0"}
    releases.run(70)
    assert aliases(releases) == {"champion": "2.0", "previous": "1.0"}


def test_a_canary_that_was_rolled_back_has_none(releases: Releases) -> None:
    begin(releases.database)
    bad(releases.database)
    releases.run(20)
    assert aliases(releases) == {"champion": "1.0"}


def test_a_silent_version_is_the_shadow(releases: Releases) -> None:
    with releases.database.writing() as connection:
        rollouts.start(connection, candidate(), policy(), "ann", NOW, shadow=True, input_share=0.5)
    assert aliases(releases) == {"champion": "1.0", "shadow": "2.0"}

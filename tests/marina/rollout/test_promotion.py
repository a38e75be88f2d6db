import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from archives.archive import open_archive
from archives.keys import own_key
from archives.registry import Registered, Registry
from archives.signatures import SignatureError, sign, signature_path
from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, ROLLOUTS
from marina.releases import ledger
from marina.releases.declarations import declare, digest, read_archive
from marina.rollout.operator_commands import at_once
from marina.rollout.policy.schema import DEFAULT, read_policy
from marina.rollout.promotion import Measured, PromotionError, Rule, decide, promote
from marina.rollout.rollouts import RolloutError, rollout_of
from marina.serving.stub_archive import build_stub
from marina.settings import Settings
from tests.archives.rewrite import recertified
from training import tracking

MODEL = "catalog"


def measured(version: str, data: str = "d", **metrics: float) -> Measured:
    return Measured(MODEL, version, metrics, data)


@pytest.mark.parametrize(
    ("new", "old", "promoted", "reason"),
    [
        (0.80, 0.78, True, "weighted_f1 of 2.0 is 0.8: at least 0.75, and better than 0.78 of 1.0, which serves"),
        (0.74, 0.70, False, "weighted_f1 of 2.0 is 0.74, at least 0.75 is required"),
        (0.80, 0.80, False, "weighted_f1 of 2.0 is 0.8, not better than 0.8 of 1.0, which serves"),
        (0.75, 0.60, True, "weighted_f1 of 2.0 is 0.75: at least 0.75, and better than 0.6 of 1.0, which serves"),
    ],
)
def test_a_version_must_reach_the_bound_and_beat_what_serves(
    new: float, old: float, promoted: bool, reason: str
) -> None:
    decision = decide(Rule(), measured("2.0", weighted_f1=new), measured("1.0", weighted_f1=old))
    assert (decision.promoted, decision.reason) == (promoted, reason)


@pytest.mark.parametrize(("new", "old", "promoted"), [(0.1, 0.2, True), (0.2, 0.1, False), (0.4, 0.5, False)])
def test_of_some_metrics_less_is_better(new: float, old: float, promoted: bool) -> None:
    rule = Rule("rmse", 0.3, less_is_better=True)
    assert decide(rule, measured("2.0", rmse=new), measured("1.0", rmse=old)).promoted is promoted


def test_what_was_trained_quickly_is_promoted_only_if_told() -> None:
    quick, champion = replace(measured("2.0", weighted_f1=0.9), quick=True), measured("1.0", weighted_f1=0.8)
    with pytest.raises(PromotionError, match=r"catalog 2\.0 was trained with --quick.*--allow-quick"):
        decide(Rule(), quick, champion)
    assert decide(Rule(quick=True), quick, champion).promoted
    assert decide(Rule(), champion, quick).reason.endswith("not better than 0.9 of 2.0, which serves")


def test_a_metric_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(PromotionError, match=r"2\.0 has no metric 'weighted_f1'\. Name one of: auc, recall"):
        decide(Rule(), measured("2.0", auc=0.9, recall=0.5), measured("1.0", weighted_f1=0.8))


def test_a_comparison_across_data_sets_says_so() -> None:
    decision = decide(Rule(), measured("2.0", weighted_f1=0.9), measured("1.0", data="e", weighted_f1=0.8))
    assert decision.reason.endswith("which serves and was measured on other data")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with version 1.0 of F1 0.78, the better 2.0 and the worse 3.0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = tmp_path_factory.mktemp("mlflow")
        made = Registry(home)
        for version, f1 in (("1.0", 0.78), ("2.0", 0.82), ("3.0", 0.76)):
            with tracking.run(MODEL, home, {}) as run:
                pass
            origin = json.dumps({"mlflow_run": run.id, "metrics": {"weighted_f1": f1}}).encode()
            plain = build_stub(home, MODEL, version)
            folder = home / "built"
            folder.mkdir(exist_ok=True)
            made.register(recertified(plain, folder / plain.name, {"provenance.json": origin}))
        yield made


@pytest.fixture
def settings(registry: Registry, tmp_path: Path) -> Settings:
    """Settings with that registry and an empty store."""
    return Settings(state_dir=registry.home, archive_store=tmp_path / "store")


@pytest.fixture
def served(database: Database, registry: Registry, tmp_path: Path) -> Database:
    """A database in which 1.0 serves."""
    champion = registry.download(found(registry, MODEL, "1.0"), tmp_path / "champion")
    with database.writing() as connection:
        declare(connection, read_archive(champion), time.time())
        ledger.declared(connection, "test", [MODEL], time.time())
    return database


def found(registry: Registry, model: str, version: str) -> Registered:
    registered = registry.find(model, version)
    assert registered is not None
    return registered


def last_entry(database: Database) -> ledger.Entry:
    with database.reading() as connection:
        assert ledger.verify(connection) == []
        return next(ledger.entries(connection, MODEL, newest_first=True))


def test_a_better_version_begins_a_rollout_with_the_registered_archive(
    served: Database, settings: Settings, registry: Registry
) -> None:
    decision = promote(served, settings, MODEL, "2.0", Rule(), read_policy(), "ann", 1000.0)
    assert decision.promoted
    with served.reading() as connection:
        rollout = rollout_of(connection, MODEL)
        assert rollout is not None
        declared = connection.execute(sa.select(DECLARATIONS).where(DECLARATIONS.c.version == "2.0")).one()
    assert (rollout.stable, rollout.canary, rollout.phase, rollout.started_by) == ("1.0", "2.0", "deploying", "ann")
    assert declared.sha256 == found(registry, MODEL, "2.0").sha256
    assert declared.weight == 0
    entry = last_entry(served)
    assert (entry.who, json.loads(entry.details)["why"]) == ("ann", decision.reason)
    tags = found(registry, MODEL, "2.0").tags
    assert (tags["marina.decision"], tags["marina.decision.reason"]) == ("promoted", decision.reason)


def test_a_worse_version_is_archived_and_nothing_is_deployed(
    served: Database, settings: Settings, registry: Registry
) -> None:
    decision = promote(served, settings, MODEL, "3.0", Rule(), read_policy(), "ann", 1000.0)
    assert not decision.promoted
    with served.reading() as connection:
        assert rollout_of(connection, MODEL) is None
        assert connection.execute(sa.select(DECLARATIONS.c.version)).scalars().all() == ["1.0"]
    entry = last_entry(served)
    details = json.loads(entry.details)
    assert (entry.action, details["version"], details["why"]) == ("archive", "3.0", decision.reason)
    assert (details["value"], details["champion_value"]) == (0.76, 0.78)
    assert found(registry, MODEL, "3.0").tags["marina.decision"] == "archived"
    assert not settings.archive_store.exists()


def test_nothing_is_decided_about_what_is_not_registered_or_serves_already(
    served: Database, settings: Settings
) -> None:
    def ask(model: str, version: str) -> None:
        promote(served, settings, model, version, Rule(), read_policy(), "ann", 1000.0)

    with pytest.raises(PromotionError, match=r"catalog 9\.0 is not registered"):
        ask(MODEL, "9.0")
    with pytest.raises(PromotionError, match=r"catalog 1\.0 is served already"):
        ask(MODEL, "1.0")
    with pytest.raises(RolloutError, match="not served"):
        ask("nobody", "1.0")
    with served.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ROLLOUTS)).scalar() == 0


def test_an_archive_in_the_store_that_is_not_the_registered_one_is_refused(
    served: Database, settings: Settings
) -> None:
    settings.archive_store.mkdir()
    build_stub(settings.archive_store, MODEL, "2.0")
    with pytest.raises(RolloutError, match="SHA-256"):
        promote(served, settings, MODEL, "2.0", Rule(), read_policy(), "ann", 1000.0)
    with served.reading() as connection:
        assert rollout_of(connection, MODEL) is None


def test_what_mlflow_says_of_a_version_decides_nothing(
    served: Database, settings: Settings, registry: Registry
) -> None:
    registry.note(found(registry, MODEL, "3.0"), {"marina.metrics": json.dumps({"weighted_f1": 0.99})})
    decision = promote(served, settings, MODEL, "3.0", Rule(), read_policy(), "eve", 1000.0)
    assert not decision.promoted and "weighted_f1 of 3.0 is 0.76" in decision.reason


def test_an_archive_that_mlflow_has_otherwise_than_it_was_signed_is_not_promoted(
    served: Database, settings: Settings, registry: Registry
) -> None:
    """Who may write MLflow writes the artifact and the tag with its hash."""
    entered = found(registry, MODEL, "2.0")
    (artifact,) = registry.home.rglob(f"archive/{entered.file}")
    honest = artifact.read_bytes()
    signature_path(artifact).write_bytes(
        sign(open_archive(artifact), own_key(registry.home / "signing.key", registry.home / "keys"))
    )
    better = json.dumps({"metrics": {"weighted_f1": 0.99}}).encode()
    recertified(artifact, artifact, {"provenance.json": better})
    registry.note(entered, {"marina.sha256": digest(artifact)})
    try:
        with pytest.raises(SignatureError, match="was changed after it was signed"):
            promote(served, settings, MODEL, "2.0", Rule(), read_policy(), "eve", 1000.0)
    finally:
        artifact.write_bytes(honest)
        signature_path(artifact).unlink()
        registry.note(entered, {"marina.sha256": entered.sha256})
    with served.reading() as connection:
        assert rollout_of(connection, MODEL) is None


def test_at_once_means_the_last_step_alone_with_its_probation_and_approvals() -> None:
    careful = read_policy().model_copy(update={"approvals": 2})
    policy = at_once(careful)
    assert policy.steps == careful.steps[-1:] and policy.approvals == 2
    assert policy.gates == careful.gates


def test_an_ab_policy_at_once_is_a_switch_and_no_test(served: Database, settings: Settings) -> None:
    policy = at_once(read_policy(DEFAULT.with_name("ab_test.yaml")))
    promote(served, settings, MODEL, "2.0", Rule(), policy, "ann", 1000.0)
    with served.reading() as connection:
        rollout = rollout_of(connection, MODEL)
    assert rollout is not None
    kept = rollout.policy
    assert kept.test is None and [step.share for step in kept.steps] == [1.0]

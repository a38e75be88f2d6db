"""Decisions about registered versions: what is begun, what is written down, and that nothing is done twice."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from archives.archive import Archive
from archives.registry import Registry
from marina.database.connection import Database
from marina.database.tables import ROLLOUTS
from marina.monitoring.channels import ChannelError, Message
from marina.pipelines import looks
from marina.pipelines.automatic_promotion import FILE, AutomaticPromotion, Outcome, notify, read_lines
from marina.pipelines.decision import Decision, HeldOut
from marina.pipelines.paired_test import PairedTest
from marina.releases import ledger
from marina.releases.declarations import declare, read_archive
from marina.rollout.policy.schema import read_policy
from marina.rollout.promotion import PromotionError, Rule
from marina.rollout.rollouts import RolloutError, rollout_of
from marina.serving.stub_archive import build_stub
from marina.settings import Settings
from tests.archives.rewrite import recertified, renamed
from training import tracking

MODEL = "catalog"
BETTER = HeldOut(PairedTest(1000, 900, 0.03, 4.0), unit="errors")
UNCLEAR = HeldOut(PairedTest(1000, 900, 0.01, 1.0), unit="errors")
WORSE = HeldOut(PairedTest(1000, 900, -0.01, -1.0), unit="errors")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with 1.0, 2.0 and 3.0, and 4.0 below the threshold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = tmp_path_factory.mktemp("mlflow")
        made = Registry(home)
        for version, f1 in (("1.0", 0.78), ("2.0", 0.82), ("3.0", 0.80), ("4.0", 0.75)):
            with tracking.run(MODEL, home, {}) as run:
                pass
            origin = {"mlflow_run": run.id, "metrics": {"weighted_f1": f1}, "data_manifest_sha256": f"d{version}"}
            plain = build_stub(home, MODEL, version)
            folder = home / "built"
            folder.mkdir(exist_ok=True)
            members = {
                "provenance.json": json.dumps(origin).encode(),
                "example.json": json.dumps({"of": version}).encode(),
            }
            made.register(recertified(plain, folder / plain.name, members))
        yield made


@pytest.fixture
def settings(registry: Registry, tmp_path: Path) -> Settings:
    (registry.home / "logs" / FILE).unlink(missing_ok=True)
    return Settings(state_dir=registry.home, archive_store=tmp_path / "store")


@pytest.fixture
def served(database: Database, registry: Registry, tmp_path: Path) -> Database:
    """A database in which 1.0 serves."""
    champion = registry.find(MODEL, "1.0")
    assert champion is not None
    path = registry.download(champion, tmp_path / "champion")
    with database.writing() as connection:
        declare(connection, read_archive(path), time.time())
        ledger.declared(connection, "test", [MODEL], time.time())
    return database


class Rows:
    """Held-out rows that say what a test wants, and count how often they are asked."""

    def __init__(self, found: HeldOut, sha256: str = "rows", fault: Exception | None = None) -> None:
        self.found, self.sha256, self.fault, self.asked = found, sha256, fault, 0

    def check(self, champion: Archive, candidate: Archive) -> None:
        if self.fault:
            raise self.fault

    def ask(self, champion: Archive, candidate: Archive) -> HeldOut:
        assert (champion.contract.version, candidate.contract.model) == ("1.0", MODEL)
        self.asked += 1
        return self.found


class Asking:
    """Decides, and keeps what people were told."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.said: list[str] = []
        self._promotion = AutomaticPromotion(
            database, settings, "ann", lambda model, version, outcome: self.said.append(f"{model} {version}")
        )

    def __call__(self, version: str, rows: Rows | None, now: float = 1000.0) -> Outcome:
        return self._promotion.decide(MODEL, version, Rule(), read_policy(), rows, now)


def rollouts(database: Database) -> int:
    with database.reading() as connection:
        assert ledger.verify(connection) == []
        return int(connection.execute(sa.select(sa.func.count()).select_from(ROLLOUTS)).scalar_one())


def written(database: Database, action: str) -> list[dict[str, object]]:
    with database.reading() as connection:
        return [json.loads(one.details) for one in ledger.entries(connection, MODEL) if one.action == action]


def test_what_is_better_begins_a_rollout_and_is_written_everywhere(
    served: Database, settings: Settings, registry: Registry
) -> None:
    ask = Asking(served, settings)
    outcome = ask("2.0", Rows(BETTER))
    assert outcome.decision.outcome == "promote"
    with served.reading() as connection:
        rollout = rollout_of(connection, MODEL)
    assert rollout is not None and (rollout.canary, rollout.phase, rollout.id) == ("2.0", "deploying", outcome.rollout)
    (row,) = written(served, looks.DECISION)
    assert (row["z"], row["level"], row["look"], row["rows"]) == (4.0, 0.025, 1, 1000)
    found = registry.find(MODEL, "2.0")
    assert found is not None and found.tags["marina.decision"] == "promoted"
    (line,) = read_lines(settings.log_dir / FILE)
    assert (line["model"], line["outcome"], line["why"]) == (MODEL, "promote", outcome.decision.reason)
    assert ask.said == ["catalog 2.0"]


@pytest.mark.parametrize(("rows", "outcome"), [(UNCLEAR, "inconclusive"), (WORSE, "keep")])
def test_what_is_not_shown_to_be_better_is_never_released(
    served: Database, settings: Settings, registry: Registry, rows: HeldOut, outcome: str
) -> None:
    found = Asking(served, settings)("3.0", Rows(rows))
    assert found.decision.outcome == outcome and found.rollout is None and rollouts(served) == 0
    noted = registry.find(MODEL, "3.0")
    assert noted is not None and noted.tags["marina.decision"] == {"keep": "archived"}.get(outcome, outcome)
    assert not settings.archive_store.exists()


def test_no_rows_release_nothing_and_the_threshold_needs_none(served: Database, settings: Settings) -> None:
    ask = Asking(served, settings)
    assert ask("2.0", None).decision.outcome == "inconclusive"
    rows = Rows(BETTER)
    assert ask("4.0", rows).decision.outcome == "keep" and rows.asked == 0
    assert rollouts(served) == 0 and written(served, looks.LOOK) == []


def test_each_look_is_at_a_smaller_level_and_the_same_look_is_one(served: Database, settings: Settings) -> None:
    ask = Asking(served, settings)
    ask("2.0", Rows(UNCLEAR))
    ask("3.0", Rows(UNCLEAR))
    again = Rows(BETTER)
    assert ask("3.0", again).again and again.asked == 0, "the rows have answered that"
    ask("3.0", Rows(UNCLEAR, "more rows"))
    assert [row["look"] for row in written(served, looks.LOOK)] == [1, 2, 3]
    assert [row["level"] for row in written(served, looks.DECISION)] == [0.05 / 2, 0.05 / 6, 0.05 / 12]
    assert len(ask.said) == 3


def test_cut_off_after_the_look_it_is_decided_at_the_same_level(served: Database, settings: Settings) -> None:
    class CutOff(Rows):
        def ask(self, champion: Archive, candidate: Archive) -> HeldOut:
            raise KeyboardInterrupt

    ask = Asking(served, settings)
    with pytest.raises(KeyboardInterrupt):
        ask("2.0", CutOff(BETTER))
    assert ask("2.0", Rows(BETTER)).rollout is not None
    assert len(written(served, looks.LOOK)) == 1 and rollouts(served) == 1


def test_cut_off_after_the_decision_it_is_told_once_and_begun_once(served: Database, settings: Settings) -> None:
    ask = Asking(served, settings)
    first = ask("2.0", Rows(BETTER))
    while_open = ask("2.0", Rows(BETTER))
    assert while_open.again and while_open.rollout == first.rollout and len(ask.said) == 1
    (settings.log_dir / FILE).unlink()  # as if it had been cut off before that line
    with served.writing() as connection:
        connection.execute(sa.update(ROLLOUTS).values(ended_at=2.0, phase="rolled back"))
    again = ask("2.0", Rows(BETTER))
    assert again.again and again.rollout == first.rollout and rollouts(served) == 1
    assert ask.said == 2 * ["catalog 2.0"] and len(list(read_lines(settings.log_dir / FILE))) == 1
    ask("2.0", Rows(BETTER))
    assert len(ask.said) == 2


def test_no_look_is_spent_on_rows_that_cannot_compare_nor_while_a_rollout_is_open(
    served: Database, settings: Settings
) -> None:
    ask = Asking(served, settings)
    cannot = ask("2.0", Rows(BETTER, fault=PromotionError("trained on them")))
    assert cannot.decision.outcome == "inconclusive" and "trained on them" in cannot.decision.reason
    assert written(served, looks.LOOK) == []
    ask("2.0", Rows(BETTER, "others"))
    with pytest.raises(RolloutError, match="a rollout is open"):
        ask("3.0", Rows(BETTER))
    assert len(written(served, looks.LOOK)) == 1


def test_no_look_is_spent_on_a_model_that_learnt_nothing_new(
    served: Database, settings: Settings, registry: Registry, tmp_path: Path
) -> None:
    champion = registry.find(MODEL, "1.0")
    assert champion is not None
    plain = registry.download(champion, tmp_path / "same")
    named = renamed(plain, MODEL, "5.0")
    registry.register(recertified(plain, tmp_path / "catalog-5.0.mar", named))
    outcome = Asking(served, settings)("5.0", Rows(BETTER))
    assert outcome.decision.outcome == "inconclusive" and "learnt nothing new" in outcome.decision.reason
    assert written(served, looks.LOOK) == []


def test_a_model_whose_losses_are_no_shares_has_a_bound_of_its_own(served: Database, settings: Settings) -> None:
    behind = HeldOut(BETTER.test, {"label 10": PairedTest(500, 400, -0.5, -5.0)}, unit="EUR")
    promotion = AutomaticPromotion(served, settings, "ann", lambda *_: None)
    kept = promotion.decide(MODEL, "2.0", Rule(), read_policy(), Rows(behind))
    assert kept.decision.outcome == "keep" and "falls behind" in kept.decision.reason
    rule = Rule(bound=0.7, slice_bound=1.0)
    assert promotion.decide(MODEL, "2.0", rule, read_policy(), Rows(behind)).decision.outcome == "promote"


def test_a_first_version_needs_its_threshold_alone_and_waits_in_the_store(
    database: Database, settings: Settings
) -> None:
    ask = Asking(database, settings)
    assert ask("4.0", None).decision.outcome == "keep"
    outcome = ask("2.0", None)
    assert (outcome.decision.outcome, outcome.rollout) == ("promote", None) and rollouts(database) == 0
    assert [path.name for path in settings.archive_store.glob("*.mar")] == ["catalog-2.0.mar"]


def test_where_promotion_is_switched_off_only_the_decision_is_written(
    served: Database, settings: Settings, registry: Registry
) -> None:
    off = settings.model_copy(update={"auto_promotion_enabled": False})
    outcome = Asking(served, off)("2.0", Rows(BETTER))
    assert outcome.decision.outcome == "promote" and outcome.rollout is None and rollouts(served) == 0
    noted = registry.find(MODEL, "2.0")
    assert noted is not None and noted.tags["marina.decision"] == "promotion allowed"


def test_nothing_is_decided_about_what_serves_or_is_unknown(served: Database, settings: Settings) -> None:
    ask = Asking(served, settings)
    with pytest.raises(PromotionError, match="served already"):
        ask("1.0", Rows(BETTER))
    with pytest.raises(PromotionError, match="not registered"):
        ask("9.0", Rows(BETTER))


def test_people_are_told_by_the_channels_that_take_it_and_by_the_log() -> None:
    class Kept:
        name = "kept"

        def __init__(self, level: str, fault: bool = False) -> None:
            self.level, self.fault, self.found = level, fault, list[Message]()

        def send(self, message: Message) -> None:
            if self.fault:
                raise ChannelError("it does not answer")
            self.found.append(message)

    lines: list[str] = []
    channels = [Kept("alert", fault=True), Kept("warning"), Kept("alert")]
    for outcome in ("promote", "keep"):
        notify(channels, lines.append, MODEL, "2.0", Outcome(Decision(outcome, "so", {}), 3))  # type: ignore[arg-type]
    assert [len(one.found) for one in channels] == [0, 2, 1]
    assert "promote" in channels[2].found[0].title and "rollout 3 has begun" in channels[2].found[0].text
    assert any("it does not answer" in line for line in lines) and any("keep" in line for line in lines)

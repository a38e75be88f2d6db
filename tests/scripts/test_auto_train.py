"""Automatic training with a stand-in for the recipe: what is a reason, what is tried again, and what a kill leaves."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from archives.registry import Registry
from marina.console import rule_book
from marina.console.people import Person
from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.database.tables import LABELS, LEASES, PREDICTIONS
from marina.pipelines import commands
from marina.pipelines.commands import Done
from marina.releases.heads import open_database
from marina.releases.lease import Lease
from marina.serving.stub_archive import build_stub
from marina.settings import read_settings
from scripts import auto_promote, auto_train
from tests.archives.rewrite import recertified
from training import tracking
from training.family import recipe as training_recipe
from training.family import rule_of, tags_of

MODEL = "catalog"


class Recipe:
    """Stands for the command that trains: fails as often as it is told, then registers a version."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.exits: list[int] = []
        self.called: list[list[str]] = []
        self.killed = False
        self.data = "generated"

    def __call__(self, command: Sequence[str], limit_s: float, *_: Any, **__: Any) -> Done:
        self.called.append(list(command))
        if self.exits:
            return Done(self.exits.pop(0), {}, "it failed")
        if self.killed:
            raise KeyboardInterrupt
        version = command[command.index("--version") + 1]
        with tracking.run(MODEL, self.home, {}) as run:
            pass
        origin = {"mlflow_run": run.id, "metrics": {"weighted_f1": 0.8}, "data_manifest_sha256": self.data}
        folder = Path(command[command.index("--store") + 1])
        folder.mkdir(exist_ok=True)
        plain = build_stub(self.home, MODEL, version)
        path = recertified(plain, folder / plain.name, {"provenance.json": json.dumps(origin).encode()})
        Registry(self.home).register(path)
        return Done(0, {}, "")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder whose MLflow has its tables, which takes seconds to make."""
    home = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert Registry(home).newest(MODEL) is None
    return home


@pytest.fixture
def recipe(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    home = tmp_path / "state"
    shutil.copytree(fresh, home)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MARINA_STATE_DIR", str(home))
    monkeypatch.setenv("MARINA_ARCHIVE_STORE", str(home / "store"))
    made = Recipe(home)
    monkeypatch.setattr(commands, "run", made)
    yield made


@pytest.fixture
def train(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def run(*options: str) -> tuple[int, dict[str, Any]]:
        status = auto_train.main(["--family", "catalog", *options], pauses_s=(0.0, 0.0))
        return status, commands.last_json(capsys.readouterr().out)

    return run


Train = Callable[..., tuple[int, dict[str, Any]]]


def test_what_was_never_trained_is_trained_tagged_and_printed(recipe: Recipe, train: Train) -> None:
    status, said = train()
    (one,) = said["trained"]
    assert (status, one["model"], one["version"]) == (0, MODEL, "1.0")
    found = Registry(recipe.home).find(MODEL, "1.0")
    assert found is not None and found.run_id == one["run_id"]
    assert (found.tags["auto_trained"], found.tags["stage"]) == ("true", "candidate")
    status, again = train()
    assert (status, again["trained"], again["again"], len(recipe.called)) == (0, said["trained"], True, 1)


def test_what_may_pass_is_tried_again_and_a_time_limit_is_not(recipe: Recipe, train: Train) -> None:
    recipe.exits = [1, 1]
    assert train()[0] == 0 and len(recipe.called) == 3
    recipe.exits = [commands.TIMED_OUT]
    assert train("--reason", "manual", "--quick")[0] == auto_train.TOO_LONG and len(recipe.called) == 4


def test_what_fails_three_times_fails(recipe: Recipe, train: Train) -> None:
    recipe.exits = [1, 1, 1]
    assert train()[0] == 1 and len(recipe.called) == 3


def test_bad_data_is_not_tried(recipe: Recipe, train: Train, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    assert train("--data", str(bad))[0] == auto_train.BAD_DATA
    assert train("--data", str(tmp_path / "none.csv"))[0] == auto_train.BAD_DATA
    assert recipe.called == []


def test_data_is_new_by_its_manifest_and_old_data_is_no_reason(
    recipe: Recipe, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.catalog.synthetic import listings
    from training.data.manifest import LISTING, of_files

    assert train()[0] == 0
    path = tmp_path / "products.csv"
    frame = listings.generate(listings.Synthesis(products=60, seed=9)).rename(columns={"code": "prdtypecode"})
    frame[["designation", "description", "prdtypecode"]].to_csv(path, index=False)
    recipe.data = of_files([path], path).sha256
    status, said = train("--data", str(path))
    assert (status, said["reason"], said["trained"][0]["version"]) == (0, "data", "2.0")
    assert train("--data", str(path), "--since", "9e9")[0] == auto_train.NO_REASON
    path.with_name(f"{path.name}{LISTING}").write_text(of_files([path], path).to_json())
    with monkeypatch.context() as patch:
        patch.setattr(auto_train, "data_hash", None)
        assert train("--data", str(path), "--since", "9e9")[0] == auto_train.NO_REASON, "without reading it"
    assert train("--data", str(path), "--since", "0")[1]["trained"] == said["trained"]
    assert len(recipe.called) == 2
    assert train("--data", str(path), "--reason", "drift", "--since", "9e9")[0] == auto_train.NO_REASON


def test_killed_and_started_again_it_builds_the_same_version_once(recipe: Recipe, train: Train) -> None:
    recipe.killed = True
    with pytest.raises(KeyboardInterrupt):
        train()
    recipe.killed = False
    status, said = train()
    assert (status, said["trained"][0]["version"]) == (0, "1.0")
    assert [one[one.index("--version") + 1] for one in recipe.called] == ["1.0", "1.0"]


def test_killed_after_the_last_archive_was_built_nothing_is_trained_again(
    recipe: Recipe, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(auto_train, "_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            train()
    status, said = train()
    assert (status, said["trained"][0]["version"], len(recipe.called)) == (0, "1.0", 1)


def test_what_no_one_promoted_is_in_no_store(recipe: Recipe, train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    options = ["--model", MODEL, "--version", "1.0", "--above"]
    assert auto_promote.main([*options, "0.9"]) == 3
    store = recipe.home / "store"
    assert not list(store.glob("*.mar")) and not list((recipe.home / "candidates").glob("*.mar"))
    assert auto_promote.main([*options, "0.7"]) == 0
    assert [one.name for one in store.glob("*.mar")] == ["catalog-1.0.mar"]
    assert train("--reason", "manual", "--quick")[1]["trained"][0]["version"] == "2.0"


def test_of_two_trainings_of_a_family_one_runs(recipe: Recipe, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_train, "LEASE_S", 0.0)
    other = Lease("train catalog", "another")
    database = Database(f"sqlite:///{recipe.home}/marina.db")
    database.upgrade()
    with database.writing() as connection:
        assert other.take(connection, 0.0)
    assert train()[0] == commands.WAIT and not recipe.called
    with database.writing() as connection:
        other.give_back(connection)
    assert train()[0] == 0

    def stolen(command: Sequence[str], limit_s: float, may_continue: Callable[[], bool], **_: Any) -> Done:
        with database.writing() as connection:
            connection.execute(sa.update(LEASES).values(holder="another"))
        monkeypatch.setattr(Lease, "due", lambda self: True)
        return Done(0 if may_continue() else commands.STOPPED, {}, "")

    monkeypatch.setattr(commands, "run", stolen)
    assert train("--reason", "manual", "--quick")[0] == commands.WAIT
    with database.reading() as connection:
        states = connection.execute(sa.select(TRAININGS.c.state).order_by(TRAININGS.c.started_at)).scalars().all()
    database.close()
    assert states == ["done", "running"], "who has the lease continues with it"


def test_labels_that_are_not_in_the_data_train_nothing(
    recipe: Recipe, train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train()
    database = Database(f"sqlite:///{recipe.home}/marina.db")
    row = {"request_id": "r", "instance": 0}
    answered = {"model": MODEL, "version": "1.0", "time": 9e9, "picked": True, "answer": "{}"}
    with database.writing() as connection:
        connection.execute(sa.insert(PREDICTIONS), row | answered)
        connection.execute(sa.insert(LABELS), row | {"label": "10", "time": 9e9})
    database.close()
    monkeypatch.setenv("MARINA_ML_RETRAIN_LABELS", "1")
    assert auto_train.main(["--family", "catalog", "--since", "9.5e9"]) == auto_train.NO_REASON
    assert "1 labels came" in capsys.readouterr().err and len(recipe.called) == 1


def test_each_family_says_by_what_its_models_are_promoted() -> None:
    for family in ("budget", "catalog", "code_health", "market"):
        for model in training_recipe(family).MODELS:
            rule = rule_of(family, model)
            assert (rule is None) == (family == "catalog"), model
    forecast = rule_of("budget", "budget_forecast")
    assert forecast is not None and forecast.slice_bound and forecast.slice_bound > 1, "its losses are EUR"
    assert tags_of("market", "market_alerts")["horizon"] == "4h,12h,24h,48h" and tags_of("catalog", MODEL) == {}


def test_a_first_version_is_decided_by_its_threshold(
    recipe: Recipe, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    train()
    options = ["--model", MODEL, "--version", "1.0"]
    assert auto_promote.main([*options, "--above", "0.9"]) == 3
    assert auto_promote.main([*options, "--metric", "auc"]) == 1
    assert "Name one with --metric: weighted_f1" in capsys.readouterr().err
    assert auto_promote.main(["--model", MODEL, "--version", "7.0"]) == 1


def test_rules_that_people_edited_are_what_their_model_is_trained_with(
    recipe: Recipe, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_recipe("catalog"), "EDITED_RULES", MODEL, raising=False)  # budget's is slow to import
    settings = read_settings()
    database = open_database(settings, first=True)
    database.upgrade()
    who = Person("ada", "operator", 1.0, "test", None, 0.0)
    for base, text in enumerate(("the first", "the second")):
        rule_book.save(database, text, who, "books", 1.0, base)

    def given(option: str) -> str:
        command = recipe.called[-1]
        return command[command.index(option) + 1] if option in command else ""

    status, said = train("--rules", "1")
    assert (status, [one["model"] for one in said["trained"]]) == (0, [MODEL])
    assert (Path(given("--rules")).read_text(), given("--models")) == ("the first", MODEL)
    assert train("--rules", "1")[1]["again"] and len(recipe.called) == 1, "once for the same rules, data and code"
    assert train("--rules", "1", "--since", "0")[1]["again"] and len(recipe.called) == 1, "nor where a step is retried"
    recipe.killed = True
    with pytest.raises(KeyboardInterrupt):
        train("--reason", "manual")
    recipe.killed = False
    assert train("--rules", "2", "--since", "0")[1]["trained"][0]["version"] == "3.0", "2.0 is another training's"
    assert train("--rules", "2")[0] == 0 and Path(given("--rules")).read_text() == "the second"
    assert train("--rules", "3")[0] == 1 and len(recipe.called) == 3
    with database.reading() as connection:
        assert set(connection.execute(sa.select(TRAININGS.c.family)).scalars()) == {"catalog", "catalog rules"}
    assert train("--reason", "manual")[0] == 0
    assert (Path(given("--rules")).read_text(), given("--models")) == ("the second", ""), "all, with the newest rules"
    database.close()

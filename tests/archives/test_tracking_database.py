"""MLflow's local database is whole or not there, whoever wants it at once, and what it cannot be is explained."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from archives import tracking_database
from archives.registry import Registry
from archives.tracking_store import TrackingStoreError, connect, quiet
from tests.marina.serving.small_disk import fill, small_disk
from training import tracking

FORKED = multiprocessing.get_context("fork")  # a process of its own, without importing MLflow for seconds again


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database with a run in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = tmp_path_factory.mktemp("whole")
        with tracking.run("family", home, {}):
            pass
        yield home / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "state"


def train(home: Path) -> None:
    with tracking.run("family", home, {}) as run:
        run.metrics({"loss": 1.0})


def ask_registry(home: Path) -> None:
    assert Registry(home).find("signflow", "1.0") is None


def open_as_mlflow_does(home: Path) -> None:
    """As `mlflow ui` opens it, which knows no lock."""
    home.mkdir(exist_ok=True)
    with quiet():
        MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def at_once(*commands: Callable[[Path], None], home: Path) -> list[int | None]:
    with quiet():  # imports MLflow before the processes are made
        processes = [FORKED.Process(target=command, args=(home,)) for command in commands]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def runs(home: Path) -> int:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("commands", "made"),
    [((train, train, train), 3), ((train, ask_registry, train, ask_registry), 2)],
    ids=["trainings", "trainings and registry commands"],
)
def test_processes_that_want_a_first_database_at_once_all_get_it(
    home: Path, commands: tuple[Callable[[Path], None], ...], made: int
) -> None:
    assert at_once(*commands, home=home) == [0] * len(commands)
    assert runs(home) == made
    assert {one.name for one in home.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.slow
def test_a_database_that_the_environment_names_is_made_by_one_too(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "else where" / "runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    monkeypatch.chdir(tmp_path)
    assert at_once(train, train, home=home) == [0, 0]
    assert elsewhere.is_file() and not home.exists()


@pytest.mark.slow
def test_a_database_that_mlflow_itself_is_making_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    opener = FORKED.Process(target=open_as_mlflow_does, args=(home,))
    opener.start()
    while not (home / "mlflow.db").exists():
        time.sleep(0.01)
    train(home)
    opener.join()
    assert opener.exitcode == 0 and runs(home) == 1


def test_a_database_that_another_program_began_meanwhile_is_left_to_it(
    home: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_database, "REST_S", 0.0)

    def open_late(uri: str) -> None:
        shutil.copy(whole, uri.removeprefix("sqlite:///"))
        shutil.copy(whole, home / "mlflow.db")  # the other's, with a run

    tracking_database.prepare(f"sqlite:///{home / 'mlflow.db'}", open_late)
    assert runs(home) == 1


def test_whoever_is_killed_while_making_it_is_in_nobody_s_way(home: Path, whole: Path) -> None:
    begun = FORKED.Event()

    def hang(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half")
        begun.set()
        time.sleep(600)

    process = FORKED.Process(target=tracking_database.prepare, args=(f"sqlite:///{home / 'mlflow.db'}", hang))
    process.start()
    assert begun.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(home.glob(".mlflow-*"))
    tracking_database.prepare(f"sqlite:///{home / 'mlflow.db'}", lambda uri: shutil.copy(whole, uri[10:]))
    assert {one.name for one in home.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def test_whoever_holds_the_lock_for_too_long_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_database, "WAIT_S", 0.3)
    home.mkdir()
    with (
        tracking_database._alone(home / "mlflow.db"),
        pytest.raises(TrackingStoreError, match=r"another process has been making .*`fuser .*mlflow\.db\.lock`"),
    ):
        connect(home)


@pytest.mark.parametrize("left", ["nothing", "first tables", "no version", "journal"])
def test_a_database_left_half_made_is_made_again(
    home: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    monkeypatch.setattr(tracking_database, "REST_S", 0.1)
    home.mkdir()
    database = home / "mlflow.db"
    database.touch()
    if left != "nothing":
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE runs (run_uuid TEXT)")
            if left != "no version":
                connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
                connection.execute("INSERT INTO alembic_version VALUES ('451aebb31d03')")
    if left == "journal":
        (home / "mlflow.db-journal").write_bytes(b"old")
    tracking_database.prepare(f"sqlite:///{database}", lambda uri: shutil.copy(whole, uri[10:]))
    assert runs(home) == 1
    assert {one.name for one in home.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("ffffffffffff", r"is of a newer MLflow \(its schema, ffffffffffff.*install that MLflow, or move the file"),
        ("451aebb31d03", r"is of an older MLflow \(schema 451aebb31d03, expected \w+\): copy .*`mlflow db upgrade sql"),
        (None, r"is of an older MLflow \(schema none"),
    ],
)
@pytest.mark.parametrize("ask", [train, ask_registry])
def test_a_database_of_another_mlflow_is_explained_and_stays(
    home: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    said: str,
    ask: Callable[[Path], None],
) -> None:
    monkeypatch.setattr(tracking_database, "REST_S", 0.0)
    home.mkdir()
    shutil.copy(whole, home / "mlflow.db")
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute("DELETE FROM alembic_version")
        if version:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    before = (home / "mlflow.db").read_bytes()
    with pytest.raises(Exception, match=said) as told:
        ask(home)
    assert type(told.value).__name__ in {"TrackingStoreError", "RegistryError"}
    assert (home / "mlflow.db").read_bytes() == before


@pytest.mark.parametrize("what", ["words", "folder", "the state folder is a file", "its parent is a file"])
def test_what_is_no_database_is_explained(home: Path, what: str) -> None:
    match what:
        case "words":
            home.mkdir()
            (home / "mlflow.db").write_text("this is no database at all\n" * 100)
        case "folder":
            (home / "mlflow.db").mkdir(parents=True)
        case "the state folder is a file":
            home.write_text("")
        case _:
            home.write_text("")
            home = home / "state"
    with pytest.raises(TrackingStoreError, match=r"cannot make or read MLflow's database .*MARINA_STATE_DIR"):
        connect(home)


def test_a_full_disk_is_explained_and_nothing_half_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with small_disk(1) as disk:
        fill(disk)
        with pytest.raises(TrackingStoreError, match=r"No space left on device|disk is full|disk I/O error"):
            connect(disk)
        assert not (disk / "mlflow.db").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_state_folder_that_can_only_be_read_is_explained(
    whole: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with small_disk(8) as disk:
        if there:
            shutil.copy(whole, disk / "mlflow.db")
        os.system(f"mount -o remount,ro {disk}")
        with pytest.raises(TrackingStoreError, match=r"make its folder and file writable|Read-only file system"):
            train(disk)
        if there:
            ask_registry(disk)

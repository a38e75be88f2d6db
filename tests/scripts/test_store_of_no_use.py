"""A version that must be fetched from the registry into a store that takes nothing: clear words, and nothing begun."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archives.registry import Registry
from marina.database.connection import Database
from marina.rollout import cli
from scripts import compare_models, deploy_canary, evaluate_models
from tests.archives.rewrite import recertified, renamed
from tests.marina.serving.small_disk import fill, small_disk
from training import tracking


@pytest.fixture(scope="module")
def state(signflow_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose registry has catalog 2.0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = tmp_path_factory.mktemp("state")
        with tracking.run("catalog", home, {}) as run:
            origin = {"mlflow_run": run.id, "metrics": {"accuracy": 0.9}}
        changes = {**renamed(signflow_archive, "catalog", "2.0"), "provenance.json": json.dumps(origin).encode()}
        built = recertified(signflow_archive, home / "catalog-2.0.mar", changes)
        Registry(home).register(built)
        built.unlink()
        yield home


@pytest.fixture(params=["read-only", "full", "a file", "below a file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        match request.param:
            case "read-only":
                folder = stack.enter_context(small_disk(1))
                subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            case "full":
                folder = stack.enter_context(small_disk(1))
                fill(folder)
            case "a file":
                folder = tmp_path / "store"
                folder.write_text("")
            case _:
                (tmp_path / "file").write_text("")
                folder = tmp_path / "file" / "store"
        yield folder


COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "deploy": (deploy_canary.main, ["--model", "catalog", "--version", "2.0"]),
    "shadow": (cli.main, ["shadow", "start", "--model", "catalog", "--version", "2.0"]),
    "evaluate": (evaluate_models.main, ["--models", "catalog:2.0,catalog:2.0", "--data", "synthetic"]),
    "compare": (compare_models.main, ["--baseline", "catalog:2.0", "--candidate", "catalog:2.0"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_store_that_takes_nothing_is_explained(
    state: Path, store: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MARINA_STATE_DIR", str(state))
    monkeypatch.setenv("MARINA_ARCHIVE_STORE", str(store))
    monkeypatch.setenv("MARINA_UNSIGNED", "warn")
    monkeypatch.setenv("MARINA_DATABASE_URL", "")
    database = Database(f"sqlite:///{state}/marina.db")
    database.upgrade()
    database.close()
    main, arguments = COMMANDS[command]
    status = main(arguments)
    printed = "".join(capsys.readouterr())
    assert status == (0 if command == "compare" else 1), "versions without archives are compared by their traffic"
    assert re.search(r"catalog-2\.0\.mar cannot be read, nor brought there from the registry: .*Errno", printed), (
        printed
    )
    assert "MARINA_ARCHIVE_STORE" in printed and "--archive" in printed


def test_a_page_that_cannot_be_written_is_explained(
    state: Path,
    signflow_archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MARINA_STATE_DIR", str(state))
    monkeypatch.setenv("MARINA_DATABASE_URL", "")
    Database(f"sqlite:///{state}/marina.db").upgrade()
    archive = str(signflow_archive)
    (tmp_path / "file").write_text("before")
    for out in (tmp_path, tmp_path / "nowhere" / "page.html", tmp_path / "file" / "page.html", Path("/proc/page.html")):
        assert compare_models.main(["--baseline", archive, "--candidate", archive, "--out", str(out)]) == 1
        assert f"cannot write --out {out}: " in capsys.readouterr().err

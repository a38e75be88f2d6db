import json
from pathlib import Path

import pytest

from archives.contract import ArchiveError
from archives.registry import Registered, Registry, RegistryError
from archives.tracking_store import quiet
from tests.archives.rewrite import recertified
from training import tracking


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with an MLflow database; making one takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = tmp_path_factory.mktemp("mlflow")
        tracking.prepare(made)
        yield made


@pytest.fixture
def registry(home):
    return Registry(home)


@pytest.fixture
def built(home, signflow_archive, tmp_path):
    """Builds an archive of its own model and version, as training would have."""

    def build(model: str, version: str, accuracy: float = 0.9, run_id: str = "") -> Path:
        if not run_id:
            with tracking.run(model, home, {}) as run:
                run_id = run.id
        origin = {"mlflow_run": run_id, "metrics": {"accuracy": accuracy, "name": "words"}, "git_commit": "abc"}
        return recertified(
            signflow_archive, tmp_path / f"{model}-{version}.mar", {"provenance.json": json.dumps(origin).encode()}
        )

    return build


def test_a_registered_version_is_found_with_its_metrics_and_comes_back_byte_for_byte(registry, built, tmp_path):
    archive = built("catalog", "2.0", 0.875)
    entered = registry.register(archive)
    found = registry.find("catalog", "2.0")
    assert found == entered
    assert found.metrics == {"accuracy": 0.875}
    assert found.tags["git_commit"] == "abc"
    came = registry.download(found, tmp_path / "elsewhere")
    assert came == tmp_path / "elsewhere" / "catalog-2.0.mar"
    assert came.read_bytes() == archive.read_bytes()
    assert [path.name for path in came.parent.iterdir()] == ["catalog-2.0.mar"]


def test_what_was_never_registered_is_not_found(registry, built):
    registry.register(built("found", "1.0"))
    assert registry.find("found", "1.1") is None
    assert registry.find("never", "1.0") is None
    assert registry.aliases("never") == {}
    registry.follow("never", champion="1.0")
    assert registry.aliases("never") == {}


def test_registering_twice_enters_once_and_another_archive_of_the_version_wins(registry, built):
    first = built("twice", "1.0")
    assert registry.register(first).number == registry.register(first).number == "1"
    again = registry.register(built("twice", "1.0", 0.95))
    assert again.number == "2"
    assert registry.find("twice", "1.0") == again


def test_an_archive_of_an_unknown_run_is_refused_with_what_to_do(registry, built, tmp_path):
    with pytest.raises(RegistryError, match=r"run 0{32}.*MLFLOW_TRACKING_URI"):
        registry.register(built("stray", "1.0", run_id="0" * 32))
    assert registry.find("stray", "1.0") is None
    (tmp_path / "stray-2.0.mar").write_bytes(b"no archive")
    with pytest.raises(ArchiveError, match="not an archive of ours"):
        registry.register(tmp_path / "stray-2.0.mar")


def test_an_artifact_that_was_changed_is_not_handed_out(registry, built, home, tmp_path):
    entered = registry.register(built("tampered", "1.0"))
    (stored,) = home.rglob("tampered-1.0.mar")
    stored.write_bytes(stored.read_bytes() + b" ")
    with pytest.raises(RegistryError, match="Somebody changed it"):
        registry.download(entered, tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_aliases_follow_what_is_live(registry, built):
    for version in ("1.0", "2.0", "3.0"):
        registry.register(built("live", version))
    registry.follow("live", champion="1.0", shadow="2.0")
    assert registry.aliases("live") == {"champion": "1.0", "shadow": "2.0"}
    for _ in range(2):  # a controller that starts again says it again
        registry.follow("live", champion="2.0", previous="1.0", canary="3.0")
        assert registry.aliases("live") == {"champion": "2.0", "previous": "1.0", "canary": "3.0"}
    registry.follow("live", champion="4.0")
    assert registry.aliases("live") == {}, "no alias may stand for a version that is not the live one"


def test_a_note_is_kept_with_its_version(registry, built):
    entered = registry.register(built("noted", "1.0"))
    registry.note(entered, {"decision": "archived", "decision.reason": "not better"})
    found = registry.find("noted", "1.0")
    assert isinstance(found, Registered)
    assert (found.tags["decision"], found.tags["decision.reason"]) == ("archived", "not better")


def test_no_table_made_and_no_byte_moved_is_announced(tmp_path, monkeypatch, built, capfd):
    archive = built("silent", "1.0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    monkeypatch.chdir(tmp_path)
    with tracking.run("silent", tmp_path, {}) as run:
        pass
    origin = json.dumps({"mlflow_run": run.id}).encode()
    registry = Registry(tmp_path)
    entered = registry.register(recertified(archive, tmp_path / "silent-1.1.mar", {"provenance.json": origin}))
    registry.download(entered, tmp_path / "elsewhere")
    assert capfd.readouterr() == ("", "")
    with quiet():
        assert registry.find("silent", "1.1") == entered


def test_what_no_run_made_is_refused_by_name_on_the_command_line(built, home, monkeypatch, capsys):
    from scripts import register_archive

    monkeypatch.setenv("MARINA_STATE_DIR", str(home))
    good, orphan = built("command", "1.0"), built("command", "2.0", run_id="0" * 32)
    assert register_archive.main([str(good), str(orphan), str(orphan.with_name("missing-1.0.mar"))]) == 1
    said = capsys.readouterr()
    assert f"{good}: version 1 of command" in said.out
    assert "which this MLflow does not have" in said.err
    assert "missing-1.0.mar" in said.err

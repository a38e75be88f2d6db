import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archives.archive import open_archive
from archives.contract import ArchiveError
from archives.keys import own_key
from archives.registry import Registered, Registry, RegistryError
from archives.signatures import Trust, sign, signature_path
from archives.tracking_store import quiet
from tests.archives.rewrite import recertified, renamed
from training import tracking


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an MLflow database; making one takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = tmp_path_factory.mktemp("mlflow")
        with tracking.run("first", made, {}):
            pass
        yield made


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(home)


@pytest.fixture
def built(home: Path, signflow_archive: Path, tmp_path: Path) -> Callable[..., Path]:
    """Builds an archive of its own model and version, as training would have."""

    def build(model: str, version: str, accuracy: float = 0.9, run_id: str = "") -> Path:
        if not run_id:
            with tracking.run(model, home, {}) as run:
                run_id = run.id
        origin = {"mlflow_run": run_id, "metrics": {"accuracy": accuracy, "name": "words"}, "git_commit": "abc"}
        changes = {**renamed(signflow_archive, model, version), "provenance.json": json.dumps(origin).encode()}
        return recertified(signflow_archive, tmp_path / f"{model}-{version}.mar", changes)

    return build


def test_a_registered_version_is_found_with_its_metrics_and_comes_back_byte_for_byte(
    registry: Registry, built: Callable[..., Path], tmp_path: Path
) -> None:
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


def test_a_signature_is_registered_and_comes_back_with_its_archive(
    registry: Registry, built: Callable[..., Path], tmp_path: Path
) -> None:
    archive = built("vouched", "1.0")
    signature_path(archive).write_bytes(sign(open_archive(archive), own_key(tmp_path / "key", tmp_path / "keys")))
    came = registry.download(registry.register(archive), tmp_path / "elsewhere")
    assert signature_path(came).read_bytes() == signature_path(archive).read_bytes()
    assert Trust.read(tmp_path / "keys", "refuse").signer(open_archive(came))


def test_an_archive_that_was_signed_anew_is_registered_with_its_new_signature(
    registry: Registry, built: Callable[..., Path], tmp_path: Path
) -> None:
    archive = built("rotated", "1.0")
    for key in ("old", "new"):
        vouched = sign(open_archive(archive), own_key(tmp_path / key, tmp_path / f"{key}-keys"))
        signature_path(archive).write_bytes(vouched)
        entered = registry.register(archive)
        assert entered.number == "1"
    came = registry.download(entered, tmp_path / "elsewhere")
    assert Trust.read(tmp_path / "new-keys", "refuse").signer(open_archive(came))


def test_what_was_never_registered_is_not_found(registry: Registry, built: Callable[..., Path]) -> None:
    registry.register(built("found", "1.0"))
    assert registry.find("found", "1.1") is None
    assert registry.find("never", "1.0") is None
    assert registry.aliases("never") == {}
    registry.follow("never", champion="1.0")
    assert registry.aliases("never") == {}


def test_registering_twice_enters_once_and_another_archive_of_the_version_wins(
    registry: Registry, built: Callable[..., Path]
) -> None:
    first = built("twice", "1.0")
    assert registry.register(first).number == registry.register(first).number == "1"
    again = registry.register(built("twice", "1.0", 0.95))
    assert again.number == "2"
    assert registry.find("twice", "1.0") == again


def test_an_archive_of_an_unknown_run_is_refused_with_what_to_do(
    registry: Registry, built: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"run 0{32}.*MLFLOW_TRACKING_URI"):
        registry.register(built("stray", "1.0", run_id="0" * 32))
    assert registry.find("stray", "1.0") is None
    (tmp_path / "stray-2.0.mar").write_bytes(b"no archive")
    with pytest.raises(ArchiveError, match="not a readable zip file"):
        registry.register(tmp_path / "stray-2.0.mar")


def test_an_archive_under_another_name_is_not_registered(registry: Registry, built: Callable[..., Path]) -> None:
    other = built("renamed", "1.0").rename(built("renamed", "2.0"))
    with pytest.raises(ArchiveError, match=r"is renamed 1\.0: an archive keeps its name, renamed-1\.0\.mar"):
        registry.register(other)


def test_an_artifact_that_was_changed_is_not_handed_out(
    registry: Registry, built: Callable[..., Path], home: Path, tmp_path: Path
) -> None:
    entered = registry.register(built("tampered", "1.0"))
    (stored,) = home.rglob("tampered-1.0.mar")
    stored.write_bytes(stored.read_bytes() + b" ")
    with pytest.raises(RegistryError, match="It was changed"):
        registry.download(entered, tmp_path / "elsewhere")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_aliases_follow_what_is_live(registry: Registry, built: Callable[..., Path]) -> None:
    for version in ("1.0", "2.0", "3.0"):
        registry.register(built("live", version))
    registry.follow("live", champion="1.0", shadow="2.0")
    assert registry.aliases("live") == {"champion": "1.0", "shadow": "2.0"}
    for _ in range(2):  # a controller that starts again says it again
        registry.follow("live", champion="2.0", previous="1.0", canary="3.0")
        assert registry.aliases("live") == {"champion": "2.0", "previous": "1.0", "canary": "3.0"}
    registry.follow("live", champion="4.0")
    assert registry.aliases("live") == {}, "no alias may stand for a version that is not the live one"


def test_the_head_of_the_ledger_is_noted_with_a_model(registry: Registry, built: Callable[..., Path]) -> None:
    registry.anchor("anchored", 3, "a" * 64)
    assert registry.anchors() == [], "nothing is registered yet"
    registry.register(built("anchored", "1.0"))
    for seq in (3, 4):
        registry.anchor("anchored", seq, "b" * 64)
    assert registry.anchors() == [(4, "b" * 64)]


def test_a_note_is_kept_with_its_version(registry: Registry, built: Callable[..., Path]) -> None:
    entered = registry.register(built("noted", "1.0"))
    registry.note(entered, {"decision": "archived", "decision.reason": "not better"})
    found = registry.find("noted", "1.0")
    assert isinstance(found, Registered)
    assert (found.tags["decision"], found.tags["decision.reason"]) == ("archived", "not better")


def test_no_table_made_and_no_byte_moved_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    archive = built("silent", "1.0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    monkeypatch.chdir(tmp_path)
    with tracking.run("silent", tmp_path, {}) as run:
        pass
    origin = json.dumps({"mlflow_run": run.id}).encode()
    registry = Registry(tmp_path)
    changes = {**renamed(archive, "silent", "1.1"), "provenance.json": origin}
    entered = registry.register(recertified(archive, tmp_path / "silent-1.1.mar", changes))
    registry.download(entered, tmp_path / "elsewhere")
    assert capfd.readouterr() == ("", "")
    with quiet():
        assert registry.find("silent", "1.1") == entered


def test_what_no_run_made_is_refused_by_name_on_the_command_line(
    built: Callable[..., Path], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scripts import register_archive

    monkeypatch.setenv("MARINA_STATE_DIR", str(home))
    good, orphan = built("command", "1.0"), built("command", "2.0", run_id="0" * 32)
    assert register_archive.main([str(good), str(orphan), str(orphan.with_name("missing-1.0.mar"))]) == 1
    said = capsys.readouterr()
    assert f"{good}: version 1 of command" in said.out
    assert "which this MLflow does not have" in said.err
    assert "missing-1.0.mar" in said.err


def test_an_archive_whose_run_was_deleted_is_registered_and_its_run_restored(
    registry: Registry, built: Callable[..., Path]
) -> None:
    archive = built("deleted_run", "1.0")
    client, run_id = registry._connected, str(open_archive(archive).json("provenance.json")["mlflow_run"])
    client.delete_run(run_id)
    assert registry.register(archive).run_id == run_id
    assert client.get_run(run_id).info.lifecycle_stage == "active"


def test_a_version_whose_artifacts_are_gone_is_explained(
    registry: Registry, built: Callable[..., Path], tmp_path: Path
) -> None:
    entered = registry.register(built("gone_artifact", "1.0"))
    folder = Path(registry._connected.get_run(entered.run_id).info.artifact_uri.removeprefix("file://"))
    (folder / "archive" / entered.file).unlink()
    with pytest.raises(RegistryError, match=r"no longer has gone_artifact-1\.0\.mar.*register it again"):
        registry.download(entered, tmp_path / "store")


@pytest.mark.parametrize("tags", [{}, {"marina.sha256": "0" * 64}, {"marina.sha256": "0", "marina.metrics": "{"}])
def test_a_version_that_somebody_entered_by_hand_is_explained(registry: Registry, tags: dict[str, str]) -> None:
    client, name = registry._connected, f"by_hand_{len(tags)}"
    client.create_registered_model(name)
    client.create_model_version(name, "/nowhere", tags={"marina.version": "1.0", **tags})
    client.create_model_version(name, "/nowhere")
    client.set_registered_model_alias(name, "champion", "2")
    with pytest.raises(RegistryError, match=f"version 1 of {name} in MLflow was not entered by Marina"):
        registry.find(name, "1.0")
    assert registry.aliases(name) == {}


@pytest.mark.parametrize("name", ["a/b", "a:b", "o'brien", "", "x' OR name = 'y", "é", "a" * 300, "%"])
def test_a_name_that_no_model_can_have_is_found_nowhere(registry: Registry, name: str) -> None:
    assert registry.find(name, "1.0") is None
    assert registry.find("catalog", name) is None


@pytest.mark.parametrize("what", ["archive", "signature"])
def test_artifacts_that_cannot_be_written_are_explained(
    registry: Registry, built: Callable[..., Path], tmp_path: Path, what: str
) -> None:
    archive = built(f"unwritable_{what}", "1.0")
    if what == "signature":
        registry.register(archive)
        signature_path(archive).write_bytes(b"signed")
    run_id = str(open_archive(archive).json("provenance.json")["mlflow_run"])
    folder = Path(registry._connected.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    if folder.exists():
        folder.rename(tmp_path / "away")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with pytest.raises(RegistryError, match=r"cannot keep unwritable_.* register it again"):
        registry.register(archive)

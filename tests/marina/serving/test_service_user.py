"""Who serves when root starts the server."""

import errno
import os
import pwd
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from archives.keys import OWN_KEY
from marina.serving import service_user
from marina.serving.preflight import StartError, only_one
from marina.serving.service_user import Account
from marina.settings import Settings
from tests.marina.serving.test_supervisor import start
from tests.serving import archive, running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")

SOMEBODY = Account("somebody", 61999, 61999, ())


@pytest.mark.slow
def test_another_user_serves_from_folders_that_are_closed_to_it(tmp_path: Path) -> None:
    """All of these lie below folders of root's alone: the archive, the state folder, and, on some machines, Python."""
    tmp_path.chmod(0o700)
    with running([archive(tmp_path)], {"user": "", "worker_paths": "[]"}) as server:
        if "serving as root, because" in (said := server.output.read_text()):
            pytest.skip(said.partition("\n")[0])
        assert httpx.post(f"{server.url}/predictions/echo", json={}).status_code == 200
        top = psutil.Process(server.process.pid)
        processes = [top, *top.children(recursive=True)]
        uids = {uid for process in processes for uid in process.uids()}
        assert len(processes) >= 8
        assert len(uids) == 1
        assert 0 not in uids
        assert {path.lstat().st_uid for path in (server.state_dir, *server.state_dir.rglob("*"))} == uids
        assert [process.name() for process in processes if "root" in process.username()] == []
        run_dir = server.run_dir
        assert run_dir.exists()
        assert server.stop() == 0
    assert not run_dir.exists()


def test_a_user_that_there_is_not_is_named(tmp_path: Path) -> None:
    answer = start(tmp_path, {"MARINA_USER": "nobody-of-that-name"}, "--archive", str(archive(tmp_path)))
    assert (answer.returncode, "Traceback" in answer.stderr) == (1, False)
    assert "MARINA_USER" in answer.stderr


def test_a_state_folder_is_handed_over_without_following_what_lies_in_it(tmp_path: Path) -> None:
    folder, outside = tmp_path / "state", tmp_path / "outside"
    (folder / "logs").mkdir(parents=True)
    for name in ("lock", "logs/access.jsonl", OWN_KEY):
        (folder / name).touch()
    outside.touch()
    (folder / "link").symlink_to(outside)
    (folder / "second name").hardlink_to(outside)
    service_user.hand_over(folder, SOMEBODY)
    owners = {path.name: path.lstat().st_uid for path in (folder, *folder.rglob("*"), outside)}
    assert owners == dict.fromkeys(("state", "logs", "lock", "access.jsonl", "link"), SOMEBODY.uid) | {
        "outside": 0,
        OWN_KEY: 0,
        "second name": 0,
    }


def test_a_folder_with_things_of_others_is_not_handed_over(tmp_path: Path) -> None:
    (tmp_path / "somebody's").touch()
    with pytest.raises(StartError, match=r"chown -R \d+:\d+ "):
        service_user._is_ours(tmp_path, SOMEBODY)


def test_a_folder_that_a_server_works_from_is_not_handed_over(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with only_one(settings), pytest.raises(StartError, match="already serves from"):
        service_user.step_down(settings)
    assert settings.state_dir.stat().st_uid == 0


def test_whoever_has_the_checkout_serves_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = pwd.getpwnam("nobody")
    os.chown(tmp_path, owner.pw_uid, owner.pw_gid)
    monkeypatch.setattr(service_user, "ROOT", tmp_path)
    assert service_user.choose(Settings(state_dir=tmp_path)).uid == owner.pw_uid
    assert service_user.choose(Settings(state_dir=tmp_path, user="root")).uid == 0


def test_the_id_is_nobodys_and_the_same_at_each_start(tmp_path: Path) -> None:
    one, again = (service_user.choose(Settings(state_dir=tmp_path)) for _ in range(2))
    other = service_user.choose(Settings(state_dir=tmp_path / "other"))
    assert one == again
    if one.name == service_user.ACCOUNT and not one.groups:  # this machine has no account of that name
        assert one.uid in service_user.NOBODYS_IDS
        assert one.uid != other.uid


@pytest.mark.parametrize("name", ["site-packages", "site-packages/package"])
def test_root_serves_where_a_user_may_not_read_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    closed = tmp_path / name
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site-packages")])
    state_dir = tmp_path / "state"
    service_user.step_down(Settings(state_dir=state_dir))
    assert f"serving as root, because {closed} is closed to" in capsys.readouterr().out
    assert state_dir.stat().st_uid == 0
    with pytest.raises(StartError, match="MARINA_USER"):
        service_user.step_down(Settings(state_dir=state_dir, user="nobody"))


def test_root_serves_where_nobody_can_become_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container that was left no capability, or knows of root alone."""

    def refuse(_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    monkeypatch.setattr(service_user, "_may", lambda *_: True)
    service_user.step_down(Settings(state_dir=tmp_path / "state"))
    assert "serving as root, because this system lets no process become marina" in capsys.readouterr().out

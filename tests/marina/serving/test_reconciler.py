"""What the database declares comes to run, and what it no longer declares goes, under load and without a failure."""

import dataclasses
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from marina.processes.guard import Guard
from marina.releases.declarations import Declaration, Declared, digest, read_archive
from marina.serving.reconciler import Reconciler
from marina.serving.replica_report import START_S, ReplicaReport
from marina.serving.run_dir import RunDir
from marina.serving.torchserve_client import Status, TorchServeClient, TorchServeError
from marina.serving.traffic_routes import Routes
from marina.serving.version_events import ExampleAsked
from marina.serving.version_state import HUNG_S, State, Version
from marina.settings import Settings
from tests.serving import archive


def until(done: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


def test_what_is_served_keeps_its_share_when_the_server_dies_while_a_version_leaves(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    settings.spool_dir.mkdir(parents=True)
    routes = Routes(tmp_path)
    versions = Reconciler(settings, Declaration(tmp_path / "declared"), routes, RunDir(tmp_path), Guard(print))
    first, second = (read_archive(archive(tmp_path, version=version)) for version in ("1.0", "2.0"))
    versions.follow([dataclasses.replace(second, weight=0.0), first])
    versions.follow([first])
    versions.lose_server()
    assert {os.readlink(part) for part in (tmp_path / "parts" / "echo").iterdir()} == {"../../models/echo/1.0"}
    assert versions.list_states() == {"echo": {"1.0": "waiting"}}


class Loaded:
    """A TorchServe that has what was registered, if the archive is there."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.asked: list[bool] = []

    def register(self, one: Declared) -> None:
        self.asked.append(one.archive.exists() and digest(one.archive) == one.sha256)
        self.there.add(one.model)

    def status(self, one: Declared) -> Status:
        return Status("ready", 1, 1) if one.model in self.there else Status("absent")

    def log_end(self) -> int:
        return 0

    def keep(self, versions: Reconciler) -> dict[str, dict[str, str]]:
        """Let the versions be looked after until they have walked as far as they get; return their states."""
        for _ in range(3):
            versions.reconcile(cast(TorchServeClient, self), lambda: False)
        return versions.list_states()


class Clock:
    """A clock that is set forward by a test."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Reconciler:
    """Those of a server that has no TorchServe but `Loaded`."""
    monkeypatch.setattr("marina.serving.reconciler.ask_example", lambda *_: ExampleAsked())
    monkeypatch.setattr("marina.serving.counters.TrafficCounters.arrived", lambda _: {})
    settings = Settings(state_dir=tmp_path / "state")
    settings.spool_dir.mkdir(parents=True)
    declaration = Declaration(tmp_path / "declared")
    return Reconciler(settings, declaration, Routes(tmp_path), RunDir(tmp_path), Guard(print), clock)


def divided(folder: Path, model: str) -> int:
    return len(list((folder / "parts" / model).glob("*")))


def test_a_model_that_cannot_be_divided_costs_the_others_nothing_and_is_tried_again(
    tmp_path: Path, versions: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared, link = [read_archive(archive(tmp_path, model)) for model in ("echo", "other")], os.symlink

    def full(target: str, place: Path) -> None:
        if "/echo/" in target and "parts" in str(place):
            raise OSError(errno.ENOSPC, "no space left")
        link(target, place)

    monkeypatch.setattr("os.symlink", full)
    for _ in range(2):
        versions.follow(declared)
        assert (divided(tmp_path, "echo"), divided(tmp_path, "other")) == (0, 1000)
    monkeypatch.undo()
    versions.follow(declared)
    assert divided(tmp_path, "echo") == 1000


def test_a_version_that_could_not_be_opened_is_opened_when_it_can_be(
    tmp_path: Path, versions: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    versions.follow([read_archive(archive(tmp_path))])
    torchserve = Loaded()
    with monkeypatch.context() as filled:
        filled.setattr("marina.serving.traffic_routes.Routes.open", full)
        assert torchserve.keep(versions) == {"echo": {"1.0": "loading"}}
        assert not versions.list_ready()
    assert torchserve.keep(versions) == {"echo": {"1.0": "ready"}}
    assert versions.list_answering() == {"echo": True}


def test_traffic_that_could_not_be_closed_is_closed_when_it_can_be(
    tmp_path: Path, versions: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    def refuse(_: Declared) -> None:
        raise TorchServeError("not now")

    versions.follow([read_archive(archive(tmp_path))])
    torchserve, routes = Loaded(), Routes(tmp_path)  # what is open is a file
    assert torchserve.keep(versions) == {"echo": {"1.0": "ready"}}
    torchserve.there.clear()
    monkeypatch.setattr(torchserve, "register", refuse)  # so nothing comes up that would close it by the way
    with monkeypatch.context() as broken:
        broken.setattr("marina.serving.traffic_routes.Routes.close", full)
        torchserve.keep(versions)
        assert routes.is_open("echo", "1.0")
    torchserve.keep(versions)
    assert not routes.is_open("echo", "1.0")


@pytest.mark.parametrize("damage", [Path.unlink, lambda copy: copy.write_bytes(b"damaged")], ids=["gone", "damaged"])
def test_a_copy_that_was_lost_while_it_served_is_made_again_before_torchserve_loads_it_anew(
    tmp_path: Path, versions: Reconciler, clock: Clock, damage: Callable[[Path], object]
) -> None:
    source, torchserve = archive(tmp_path), Loaded()
    versions.follow([read_archive(source)])
    assert torchserve.keep(versions) == {"echo": {"1.0": "ready"}}
    (copy,) = (tmp_path / "declared").glob("*.mar")
    damage(copy)
    torchserve.there.clear()
    versions.lose_server()
    assert torchserve.keep(versions) == {"echo": {"1.0": "ready"}}
    damage(copy)
    kept = source.rename(tmp_path / "kept.mar")  # where it came from is gone too
    torchserve.there.clear()
    versions.lose_server()
    assert torchserve.keep(versions) == {"echo": {"1.0": "waiting"}}
    kept.rename(source)
    clock.ahead_s += HUNG_S
    assert torchserve.keep(versions) == {"echo": {"1.0": "ready"}}
    assert torchserve.asked == [True, True, True]


def test_a_server_is_healthy_once_started_while_any_model_answers(tmp_path: Path) -> None:
    routes, clock = Routes(tmp_path), Clock()
    report = ReplicaReport(routes, clock)
    declared = {model: Declared(model, "1.0", tmp_path, "0" * 64) for model in ("echo", "other")}
    for model in declared:
        routes.declare(model, "1.0")
        routes.share(model, [("1.0", 1.0)])

    def versions(echo: str, other: str) -> list[Version]:
        found = [Version(one, 5.0, State(state)) for one, state in zip(declared.values(), (echo, other), strict=True)]
        for version in found:
            (routes.open if version.state is State.READY else routes.close)(version.declared.model, "1.0")
        return found

    def healthy(echo: str, other: str) -> bool:
        return report.check_health(versions(echo, other))

    assert not healthy("waiting", "waiting")
    assert not healthy("ready", "loading")  # it starts
    assert report.list_answering(versions("ready", "loading")) == {"echo": True, "other": False}
    assert healthy("ready", "refused")
    assert healthy("ready", "loading")  # an unhealthy model concerns no other
    assert healthy("ready", "ready")
    assert not healthy("loading", "loading")  # nothing answers
    assert healthy("loading", "ready")
    report.note_start()
    assert not healthy("ready", "loading")  # it starts again
    clock.ahead_s = START_S
    assert healthy("ready", "loading")  # and has waited for the last one long enough
    assert not healthy("refused", "refused")

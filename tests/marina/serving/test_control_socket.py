"""Between a controller and the supervisor beside it."""

import dataclasses
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from marina.processes.guard import Guard
from marina.serving.control_socket import ControlClient, ControlError, ControlServer
from marina.serving.run_dir import RunDir
from marina.serving.traffic_routes import Routes
from tests.marina.rollout.releases import candidate


@dataclasses.dataclass
class Ends:
    link: ControlClient
    door: ControlServer
    routes: Routes
    woken: list[bool]
    told: list[str]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    place = RunDir(tmp_path).link_socket
    woken: list[bool] = []
    told: list[str] = []
    routes = Routes(tmp_path)
    door = ControlServer(place, routes, lambda: woken.append(True), Guard(told.append))
    yield Ends(ControlClient(place), door, routes, woken, told)
    door.close()


def test_what_should_run_comes_and_what_runs_is_answered(ends: Ends) -> None:
    declared = [dataclasses.replace(candidate(version=version), weight=5.0) for version in ("2.0", "1.0")]
    ends.door.runs = [{"model": "sums", "state": "ready"}]
    assert ends.link.follow(declared) == {"runs": ends.door.runs, "upgraded": False}
    assert ends.door.declared == declared and ends.woken
    assert ends.link.request({"upgraded": True})["upgraded"]
    ends.link.request({"replica": "another"})
    assert ends.door.replica == "another"


def test_a_retreat_has_changed_the_routes_when_it_is_answered(ends: Ends, tmp_path: Path) -> None:
    ends.routes.share("sums", [("2.0", 5), ("1.0", 95)])
    ends.link.retreat("sums", "2.0", "1.0")
    parts = Counter(os.readlink(part) for part in (tmp_path / "parts" / "sums").iterdir())
    assert parts == {"../../models/sums/1.0": 1000}


def test_what_makes_no_sense_is_refused_and_the_next_message_is_heard(ends: Ends) -> None:
    for message in ({"declared": 3}, {"retreat": {"model": "sums"}}, {"declared": [{"model": ".."}]}):
        with pytest.raises(ControlError, match="could not"):
            ends.link.request(message)
    with socket.socket(socket.AF_UNIX) as hasty:  # one that leaves in the middle of a line
        hasty.connect(str(ends.link._path))
        hasty.sendall(b'{"declared"')
    assert ends.link.follow([])["runs"] == []
    assert "answering the controller fails" in ends.told[0]


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="does not answer"):
        ControlClient(tmp_path / "nothing.sock").follow([])

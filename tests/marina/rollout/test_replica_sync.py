"""What the database says reaches the supervisor, and what runs reaches the database."""

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS, REPLICAS
from marina.processes.guard import Guard
from marina.releases import replica_status
from marina.releases.declarations import Declaration
from marina.rollout.replica_sync import Following
from marina.serving.control_socket import ControlClient, ControlServer
from marina.serving.run_dir import RunDir
from marina.serving.traffic_routes import Routes
from marina.settings import Settings
from tests.marina.rollout.releases import candidate, serve


@dataclasses.dataclass
class Server:
    following: Following
    door: ControlServer
    declaration: Declaration
    told: list[str]

    def runs(self, *states: tuple[str, str]) -> None:
        """Say what runs: versions and their states."""
        shared = {"model": "sums", "sha256": "0" * 64, "reason": "", "weight": 1.0}
        self.door.runs = [shared | {"version": version, "state": state} for version, state in states]


def served(folder: Path, url: str, replica: str = "here") -> Server:
    folder.mkdir()
    settings = Settings(state_dir=folder, database_url=SecretStr(url), replica=replica)
    told: list[str] = []
    door = ControlServer(RunDir(folder).link_socket, Routes(folder), lambda: None, Guard(told.append))
    door.upgraded = True
    following = Following(settings, ControlClient(RunDir(folder).link_socket), told.append)
    return Server(following, door, Declaration(folder / "declared"), told)


@pytest.fixture
def server(tmp_path: Path, database: Database, database_url: str) -> Iterator[Server]:
    serve(database)
    made = served(tmp_path / "server", database_url)
    yield made
    made.door.close()
    made.following._database.close()


def reported(database: Database) -> dict[tuple[str, str], str]:
    with database.reading() as connection:
        return {(row.replica, row.version): row.state for row in connection.execute(sa.select(REPLICAS))}


def test_both_learn_what_the_other_says_and_it_is_noted(server: Server, database: Database) -> None:
    server.runs(("1.0", "loading"))
    server.following.step()
    assert server.door.declared == server.declaration.noted() and str(server.door.declared[0]) == "sums 1.0"
    assert reported(database) == {("here", "1.0"): "loading"}
    server.runs(("1.0", "ready"))
    server.following.step()
    assert reported(database) == {("here", "1.0"): "ready"}
    with database.reading() as connection:
        before = connection.execute(sa.select(REPLICAS.c.seen_at)).scalar_one()
    server.following.step()
    with database.reading() as connection:  # nothing new, and lately
        assert connection.execute(sa.select(REPLICAS.c.seen_at)).scalar_one() == before


def test_a_supervisor_that_does_not_answer_is_not_reported(server: Server, database: Database) -> None:
    server.door.close()
    server.following.step()
    assert reported(database) == {}
    assert sum("the supervisor does not answer" in words for words in server.told) == 1


def test_an_empty_database_is_told_what_is_served_and_withdraws_nothing(server: Server, database: Database) -> None:
    server.declaration.keep = lambda one: None  # type: ignore[method-assign]  # instead of copying
    server.following._declaration = server.declaration
    server.following.step()
    with database.writing() as connection:
        connection.execute(sa.delete(DECLARATIONS))
    server.following.step()
    assert server.door.declared and [str(one) for one in server.door.declared] == ["sums 1.0"]
    with database.reading() as connection:
        assert connection.execute(sa.select(DECLARATIONS.c.version)).scalars().all() == ["1.0"]


def test_a_database_that_comes_later_is_made_and_followed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later/marina.db"
    server = served(tmp_path / "server", url)
    server.door.upgraded = False
    server.declaration.note([candidate()])
    server.following._declaration.keep = lambda one: None  # type: ignore[method-assign]  # instead of copying
    for _ in range(2):
        server.following.step()
    assert sum("the database is unavailable" in words for words in server.told) == 1
    (tmp_path / "later").mkdir()
    for _ in range(3):
        server.following.step()
    assert "the database is available again" in server.told
    assert server.door.upgraded and server.door.declared is not None and len(server.door.declared) == 1
    server.door.close()


def test_a_twin_takes_another_name_and_says_so_and_neither_deletes_the_others_rows(
    server: Server, database: Database, database_url: str, tmp_path: Path
) -> None:
    twin = served(tmp_path / "twin", database_url)
    for one in (server, twin):
        one.runs(("1.0", "ready"))
    for _ in range(4):
        for one in (server, twin):
            one.following.step()
            one.following._reported = None
    assert sorted(reported(database)) == sorted([("here", "1.0"), (twin.door.replica, "1.0")])
    assert server.door.replica == "" and twin.door.replica.startswith("here~")
    assert [words for words in twin.told if "MARINA_REPLICA" in words] and not server.told
    twin.door.close()
    twin.following._database.close()


def test_who_stops_is_not_reported_any_more(server: Server, database: Database) -> None:
    server.runs(("1.0", "ready"))
    server.following.start()
    end = time.monotonic() + 20
    while not reported(database):
        assert time.monotonic() < end
        time.sleep(0.05)
    server.following.stop()
    assert reported(database) == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_locked_database_holds_up_neither_the_declaration_nor_the_end(
    server: Server, database: Database, database_url: str
) -> None:
    server.runs(("1.0", "ready"))
    with database.writing():
        server.following.start()
        end = time.monotonic() + 20
        while server.door.declared is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        began = time.monotonic()
        server.following.stop()
        assert time.monotonic() - began < 4
    assert os.path.exists(server.declaration.folder / "declaration.json")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # it goes by the clock of its host
def test_a_clock_that_is_set_changes_neither_who_is_alive_nor_the_name(
    server: Server, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marina.rollout.replica_sync.REPORT_S", 0.0)
    server.runs(("1.0", "ready"))
    for days in (0, 100, -100, 0):
        now = time.time() + 86_400 * days
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr("time.time", lambda now=now: now)
            server.following.step()
            with database.reading() as connection:
                assert replica_status.read(connection, "sums").alive == {"here"}
    assert not server.told and server.door.replica == ""

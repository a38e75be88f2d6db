"""Two servers with one name."""

from pathlib import Path

import pytest

from marina.database.connection import Database
from marina.releases.server_name import Name
from marina.settings import Settings


def server(folder: Path, replica: str = "twin") -> Name:
    return Name(Settings(state_dir=folder, replica=replica))


def claim(database: Database, name: Name) -> str:
    with database.writing() as connection:
        return name.claim(database, connection)


@pytest.mark.parametrize("replica", ["twin", "t" * 128])
def test_who_came_first_keeps_the_name_and_the_other_takes_one_of_its_own(
    database: Database, tmp_path: Path, replica: str
) -> None:
    first, second = server(tmp_path / "a", replica), server(tmp_path / "b", replica)
    assert claim(database, first) == ""
    assert "process" in claim(database, second)
    assert second.give_up() != replica and len(second.name) <= 128
    for _ in range(3):
        assert [claim(database, one) for one in (first, second)] == ["", ""]
    assert first.name == replica


def test_the_next_server_of_a_state_folder_has_the_name_at_once(database: Database, tmp_path: Path) -> None:
    assert [claim(database, server(tmp_path)) for _ in range(3)] == ["", "", ""]


def test_a_name_whose_server_is_gone_is_free_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server(tmp_path / "a"), server(tmp_path / "b")
    now = [1000.0]
    monkeypatch.setattr("marina.releases.server_name.replica_status.clock", lambda _: now[0])
    assert claim(database, first) == ""
    now[0] += 9
    assert claim(database, second)
    now[0] += 2
    assert claim(database, second) == ""
    assert claim(database, first)

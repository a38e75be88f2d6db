from pathlib import Path

import pytest

from marina.console import people
from marina.releases import ledger
from marina.releases.heads import open_database
from marina.settings import read_settings
from scripts import console_users


def test_people_are_added_listed_and_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path))
    assert console_users.main(["--who", "eve", "add", "ada", "--role", "operator"]) == 0
    token = capsys.readouterr().out.strip()
    assert token.startswith("ada~")
    assert console_users.main(["list"]) == 0
    assert "ada: operator, added" in (listed := capsys.readouterr().out) and token not in listed
    assert console_users.main(["add", "No One"]) == 1
    assert "expected a name" in capsys.readouterr().err
    assert console_users.main(["revoke", "ada"]) == 0 and console_users.main(["revoke", "ada"]) == 1
    database = open_database(read_settings())
    with database.reading() as connection:
        assert people.check(connection, token) is None
        assert [row.action for row in ledger.entries(connection)] == ["add person", "revoke person"]
    database.close()

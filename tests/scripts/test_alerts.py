from pathlib import Path

import pytest

from marina.database.connection import Database
from marina.monitoring.alerts import Finding, open_alert
from scripts.alerts import main

FOUND = Finding(
    model="signflow", version="1.0", kind="rule", name="HighLatency", level="warning", what="slow \x1b[2J",
    since=50.0, effect=1.4, evidence=0.0, needed=0.0, harm="", link="",
)  # fmt: skip


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path))
    database = Database(f"sqlite:///{tmp_path}/marina.db")
    database.upgrade()
    numbers = [open_alert(database, FOUND, 100.0)]
    numbers.append(open_alert(database, Finding(**{**vars(FOUND), "level": "critical", "name": "Other"}), 100.0))
    database.close()
    return numbers


def test_alerts_are_listed_shown_decided_and_cleared(numbers: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "HighLatency" in out and "Other" in out and "\x1b[2J" not in out
    assert main(["decide", str(numbers[1]), "--action", "roll_back", "--why", "users complain", "--who", "ada"]) == 0
    assert "scripts/rollback.py --model signflow" in capsys.readouterr().out
    assert main(["acknowledge", str(numbers[0]), "--who", "bob"]) == 0
    assert main(["clear", "--why", "load test", "--who", "bob"]) == 0
    assert "1 alerts up to the level warning" in capsys.readouterr().out
    assert main(["show", str(numbers[0])]) == 0
    assert "bob: nothing (load test)" in capsys.readouterr().out


def test_a_number_that_is_none_is_refused_with_what_to_do(
    numbers: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "77"]) == 1
    assert "scripts/alerts.py list" in capsys.readouterr().err
    assert main(["decide", str(numbers[0]), "--action", "nothing", "--why", " "]) == 1
    assert "needs a reason" in capsys.readouterr().err

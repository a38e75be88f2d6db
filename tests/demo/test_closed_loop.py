"""Parts of the closed loop's demo; `python -m demo.closed_loop` is the whole."""

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from demo import closed_loop
from demo.closed_loop import HELD_OUT, KNOWN, STRANGE, Goods, Times, questions, until
from demo.scenario import RehearsalError
from demo.versions import COLUMNS
from marina.database.connection import Database
from marina.monitoring.alerts import Finding, open_alert


def test_what_users_ask_about_and_what_is_held_out_is_in_no_training(tmp_path: Path) -> None:
    goods = Goods.make(tmp_path)
    grown, held_out = (
        pd.read_csv(path, dtype=str, keep_default_na=False)[COLUMNS] for path in (goods.grown, goods.held_out)
    )
    assert len(grown) == KNOWN + STRANGE and len(held_out) == HELD_OUT
    trained = set(map(tuple, grown.to_numpy().tolist()))
    for others in (goods.users[COLUMNS], goods.usual[COLUMNS], held_out):
        assert not trained & set(map(tuple, others.to_numpy().tolist()))
    assert set(held_out["description"]) == {""} and (goods.usual["description"] != "").mean() > 0.5
    first = questions(goods.users, 5)[0]
    assert len(json.loads(first.body)["instances"]) == len(first.labels) == 5


def test_the_table_has_the_steps_since_the_drift_began() -> None:
    said: list[str] = []
    times = Times(said.append, time.monotonic() - 10)
    times.step("it serves")
    times.drift = time.monotonic() - times.began
    times.began -= 20
    times.step("alarm", "python scripts/alerts.py list")
    assert len(said) == 2
    assert times.markdown().splitlines()[2:] == ["| alarm | `python scripts/alerts.py list` | 20 s | 20 s |"]


def test_an_alarm_is_waited_for_and_not_for_ever(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_loop, "LIMIT_S", 0.0)
    with pytest.raises(RehearsalError, match="no alarm was raised within 0 s"):
        until(lambda: closed_loop._alarm(database), "no alarm was raised")
    found = Finding("catalog", "1.0", "drift", "drift", "alert", "moved", 1.0, 0.9, 9.0, 3.0, "", "")
    number = open_alert(database, found, time.time())
    monkeypatch.setattr(closed_loop, "LIMIT_S", 10.0)
    assert until(lambda: closed_loop._alarm(database), "no alarm was raised") == number

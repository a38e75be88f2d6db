import json
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from marina.database.loop_tables import HELD_OUT_CHECKS
from marina.releases.declarations import declare, read_archive
from marina.releases.heads import open_database
from marina.settings import Settings
from scripts import check_held_out


@pytest.fixture
def rows(signflow_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty clips of eight people, a quarter of them not what the served version says, which is in the store."""
    from tests.families.signflow import frames_of, made_up
    from training.signflow.fit import probabilities

    store = tmp_path / "store"
    store.mkdir()
    (store / signflow_archive.name).write_bytes(signflow_archive.read_bytes())
    monkeypatch.setenv("MARINA_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("MARINA_ARCHIVE_STORE", str(store))
    monkeypatch.setenv("MARINA_UNSIGNED", "allow")
    sequences = [frames_of(5, seed) for seed in range(40)]
    model = made_up()
    labels = np.array(model.labels)
    said = probabilities(model.model, tuple(sequences)).argmax(1)
    truth = labels[np.where(np.arange(40) % 4 == 0, (said + 1) % len(labels), said)]
    file = tmp_path / "said.npz"
    np.savez(file, X=np.concatenate(sequences), len=np.full(40, 5), y=truth, source=np.arange(40) % 8)
    return file


def test_live_versions_are_asked_again_and_what_they_said_is_kept(
    rows: Path, signflow_archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--model", "signflow", "--data", str(rows)]
    database = open_database(Settings(), first=True)
    database.upgrade()
    assert check_held_out.main(asked) == 1 and "no version with traffic" in capsys.readouterr().err
    with database.writing() as connection:
        declare(connection, read_archive(signflow_archive), time.time())
    assert check_held_out.main(asked) == 0
    [said] = json.loads(capsys.readouterr().out.splitlines()[-1])["asked"]
    assert said["accuracy"] == pytest.approx(0.75) and said["low"] <= 0.75 <= said["high"] and said["rows"] == 40
    with database.reading() as connection:
        kept = connection.execute(sa.select(HELD_OUT_CHECKS)).one()
    database.close()
    assert (kept.model, kept.version, kept.accuracy) == ("signflow", said["version"], pytest.approx(0.75))
    assert check_held_out.main([*asked[:-1], "nowhere.npz"]) == 1
    assert check_held_out.main([]) == 0 and '"asked": []' in capsys.readouterr().out
    monkeypatch.setenv("MARINA_ML_HELD_OUT", json.dumps({"signflow": str(rows), "catalog": "other.csv"}))
    assert check_held_out.main([]) == 0
    assert '"model": "signflow"' in capsys.readouterr().out

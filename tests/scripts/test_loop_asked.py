"""`scripts/loop.py asked` takes what people asked for, and no more; the console's story has a whole training."""

import os
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr

from marina.database.loop_tables import LOOP_STEPS
from marina.monitoring import alerts, requested_trainings
from marina.releases import ledger
from marina.releases.declarations import declare, read_archive
from marina.releases.heads import open_database
from marina.serving.stub_archive import build_stub
from marina.settings import ROOT, Settings
from tests.marina.console.browser import finding


def test_what_was_asked_for_is_taken_and_nothing_else(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/marina.db"
    settings = Settings(state_dir=tmp_path, archive_store=tmp_path, database_url=SecretStr(url))
    database = open_database(settings, first=True)
    database.upgrade()
    with database.writing() as connection:
        declare(connection, read_archive(build_stub(tmp_path, "catalog", "1.0")), time.time() - 60)
        ledger.declared(connection, "serve", ["catalog"], time.time() - 60)
    alert = alerts.open_alert(database, finding(model="catalog"), time.time())
    alerts.decide(database, alert, "ada", "retrain", "new shelves", time.time())
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MARINA_", "MLFLOW_"))}
    env |= {"MARINA_STATE_DIR": str(tmp_path), "MARINA_ARCHIVE_STORE": str(tmp_path)}
    env |= {"MARINA_DATABASE_URL": url, "MARINA_UNSIGNED": "allow"}
    command = [sys.executable, str(ROOT / "scripts" / "loop.py"), "asked", "--families", "catalog"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    with database.reading() as connection:
        found = requested_trainings.of_alert(connection, alert, time.time())
        runs = set(connection.execute(sa.select(LOOP_STEPS.c.run)).scalars())
    database.close()
    assert runs == {f"asked {alert}"}, "no week, no day"
    assert found is not None and (found.state, found.again) == ("failed", False)
    assert "catalog is of family 'stub'" in found.reason

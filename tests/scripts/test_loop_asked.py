"""What a person asks for in the console, by the real commands: trained, registered and decided at the loop's look."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from archives.archive import open_archive
from archives.contract import write_contract
from archives.registry import Registry
from demo.versions import COLUMNS, EASY, products_like
from marina.monitoring import alerts, requested_trainings
from marina.releases import ledger
from marina.releases.declarations import declare, read_archive
from marina.releases.heads import open_database
from marina.serving.stub_archive import build_stub, build_variant
from marina.settings import ROOT, Settings
from tests.marina.console.browser import finding


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_alert_that_is_answered_so_is_trained_and_decided(tmp_path: Path, database_url: str) -> None:
    goods, store = tmp_path / "goods.csv", tmp_path / "store"
    store.mkdir()
    products_like(replace(EASY, products=200))[COLUMNS].to_csv(goods, index=False)
    stub = build_stub(tmp_path, "catalog", "1.0")
    contract = replace(open_archive(stub).contract, family="catalog")
    served = build_variant(stub, store, {"contract.json": write_contract(contract)})
    settings = Settings(state_dir=tmp_path, archive_store=store, database_url=SecretStr(database_url))
    database = open_database(settings, first=True)
    database.upgrade()
    with database.writing() as connection:
        declare(connection, read_archive(served), time.time() - 60)
        ledger.declared(connection, "serve", ["catalog"], time.time() - 60)
    alert = alerts.open_alert(database, finding(model="catalog"), time.time())
    alerts.decide(database, alert, "ada", "retrain", "new shelves", time.time())
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MARINA_", "MLFLOW_"))}
    env |= {
        "MARINA_STATE_DIR": str(tmp_path), "MARINA_ARCHIVE_STORE": str(store), "MARINA_DATABASE_URL": database_url,
        "MARINA_UNSIGNED": "allow", "MARINA_ML_TRAINING_DATA": f'{{"catalog":"{goods}"}}',
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "scripts" / "loop.py"), "asked", "--families", "catalog"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    with database.reading() as connection:
        found = requested_trainings.of_alert(connection, alert, time.time())
        assert ledger.verify(connection) == []
    database.close()
    assert found is not None and found.state == "done"
    (version,) = found.versions
    assert (version.model, version.version) == ("catalog", "2.0") and version.outcome in ("keep", "inconclusive")
    registered = Registry(tmp_path).find("catalog", "2.0")
    assert registered is not None and registered.tags["reason"] in (
        "the data has changed", f"a person decided to retrain on alert {alert}"
    )  # fmt: skip

"""The commands that begin, steer and explain releases, as a person types them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from archives.archive import open_archive
from archives.keys import own_key
from archives.signatures import sign, signature_path
from marina.database.tables import LEDGER
from marina.pipelines.commands import WAIT, last_json
from marina.releases import ledger
from marina.releases.declarations import declare, read_archive
from marina.releases.heads import Heads, heads_file, open_database
from marina.releases.lease import Lease
from marina.rollout.controller import Controller
from marina.settings import ROOT, Settings
from scripts import deploy_canary
from tests.archives.rewrite import rewritten
from tests.marina.rollout.releases import answer, declared, latest, supervise
from tests.marina.rollout.untied import untie
from tests.postgres import Postgres
from tests.serving import archive

AB_POLICY = str(ROOT / "marina" / "rollout" / "policy" / "ab_test.yaml")


class Desk:
    """A store, a database, and somebody who types; `step` does what supervisor and controller do."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.store.mkdir()
        url = f"sqlite:///{folder}/marina.db"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("MARINA_", "MLFLOW_"))}
        self.env |= {
            "MARINA_DATABASE_URL": url,
            "MARINA_STATE_DIR": str(folder),
            "MARINA_ARCHIVE_STORE": str(self.store),
        }
        self.settings = Settings(state_dir=folder, database_url=SecretStr(url))
        self.database = open_database(self.settings)
        self.database.upgrade()
        key = own_key(folder / "signing.key", folder / "keys")
        for version in ("1.0", "2.0"):
            built = archive(self.store, version=version)
            signature_path(built).write_bytes(sign(open_archive(built), key))
        with self.database.writing() as connection:
            declare(connection, read_archive(self.store / "echo-1.0.mar"), time.time() - 60)
            ledger.declared(connection, "serve", ["echo"], time.time() - 60)
        self.controller = Controller(self.database, Lease("controller", "test"), lambda _: None)

    def type(self, script: str, *arguments: str) -> tuple[int, str]:
        where = ["-m", "marina.rollout"] if script == "rollout" else [str(ROOT / "scripts" / script)]
        command = [sys.executable, *where, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def step(self, times: int = 2) -> None:
        for _ in range(times):
            now = time.time()
            supervise(self.database)
            self.controller.step(now)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.database.close()


@pytest.mark.slow
def test_a_release_from_its_beginning_to_its_undoing(desk: Desk, tmp_path: Path) -> None:
    quick = tmp_path / "quick.yaml"
    text = (
        (ROOT / "marina" / "rollout" / "policy" / "default.yaml")
        .read_text()
        .replace("at_least_s: 3600", "at_least_s: 0")
    )
    quick.write_text(text.replace("approvals: 0", "approvals: 1"))
    code, words = desk.type(
        "deploy_canary.py", "--model", "echo", "--version", "2.0", "--percentage", "20", "--policy", str(quick)
    )
    assert code == 0 and "echo 1.0 -> 2.0 started as rollout 1: 20 % for at least 0 s, 50 %" in words
    desk.step()
    assert declared(desk.database, "echo") == {"1.0": 80, "2.0": 20}

    code, words = desk.type("deploy_canary.py", "--model", "echo", "--version", "2.0")
    assert code == 1 and "a rollout is open" in words
    assert desk.type("rollout", "pause", "--model", "echo", "--who", "ben")[0] == 0
    start = latest(desk.database, "echo").watched_since
    assert start is not None
    answer(desk.database, 400, 1, start - 60, "1.0", "echo")
    answer(desk.database, 5000, 20, start, "1.0", "echo")
    answer(desk.database, 2000, 4, start, "2.0", "echo")
    desk.step()
    assert latest(desk.database, "echo").step == 0
    assert desk.type("rollout", "resume", "--model", "echo")[0] == 0
    desk.step(3)
    assert "waits for one person" in desk.type("rollout", "status")[1]
    assert desk.type("rollout", "approve", "--model", "echo", "--who", "cem")[0] == 0
    desk.step(4)
    assert declared(desk.database, "echo") == {"2.0": 100}

    story = desk.type("rollout", "explain", "--model", "echo")[1]
    assert "paused by ben" in story and "approved for all traffic: cem" in story and "canary 4 of 2000" in story
    assert "bit for bit" in desk.type("rollout", "replay")[1]
    code, words = desk.type("rollout", "simulate", "--model", "echo", "--policy", str(quick))
    assert code == 0 and "2,000 requests of the canary" in words

    code, words = desk.type("rollback.py", "--model", "echo", "--reason", "second thoughts")
    assert code == 0 and "1.0 takes over from 2.0 as soon as it is ready" in words
    desk.step(4)
    assert declared(desk.database, "echo") == {"1.0": 100}
    live = desk.type("rollout", "ledger", "what-was-live", "--at", str(start - 30))[1]
    assert live == "echo: 1.0 100 %\n"
    assert "second thoughts" in desk.type("rollout", "ledger", "list", "--model", "echo")[1]
    code, words = desk.type("rollout", "ledger", "verify")
    assert code == 0 and "rows, all hashes and signatures valid; the last has" in words, words
    exported = desk.type("rollout", "ledger", "export")[1].splitlines()
    assert [json.loads(line)["seq"] for line in exported] == list(range(1, len(exported) + 1))
    with desk.database.writing() as connection:
        untie(connection)
        connection.execute(sa.update(LEDGER).where(LEDGER.c.seq == 2).values(who="eve"))
    code, words = desk.type("rollout", "ledger", "verify")
    assert code == 1 and words.startswith("row 2: changed")


def test_once_begins_a_rollout_once_and_waits_for_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)

    def deploy(version: str) -> tuple[int, dict[str, Any]]:
        status = deploy_canary.main(["--model", "echo", "--version", version, "--who", "ann", "--once"])
        return status, last_json(capsys.readouterr().out)

    begun = {"model": "echo", "version": "2.0", "outcome": "canary", "rollout": 1}
    assert deploy("2.0") == (0, begun) and deploy("2.0") == (0, begun)
    signature_path(third := archive(desk.store, version="3.0")).write_bytes(
        sign(open_archive(third), own_key(desk.settings.state_dir / "signing.key", desk.settings.state_dir / "keys"))
    )
    assert deploy("3.0") == (WAIT, {})
    assert latest(desk.database, "echo").started_by == "ann"


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("deploy_canary.py", ("--model", "echo", "--percentage", "10"), "echo 1.0 -> 2.0 started as rollout 1: 10 %"),
        ("deploy_canary.py", ("--model", "STORE/echo-2.0.mar", "--percentage", "10"), "echo 1.0 -> 2.0 started"),
        ("deploy_canary.py", ("--model", "echo:2.0", "--percentage", "10"), "echo 1.0 -> 2.0 started"),
        ("monitor_canary.py", ("--once", "--model", "echo"), "echo"),
    ],
)
def test_a_version_is_named_as_people_do(desk: Desk, script: str, arguments: tuple[str, ...], said: str) -> None:
    code, words = desk.type(script, *(argument.replace("STORE", str(desk.store)) for argument in arguments))
    assert code == 0 and said in words, words


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("deploy_canary.py", ("--model", "nobody"), "expected MODEL:VERSION"),
        ("deploy_canary.py", ("--model", "STORE/none.mar"), "none.mar"),
        ("monitor_canary.py", ("--once",), "no rollout is open: name a model"),
        ("shadow_mode_report.py", ("--production", "echo:1.0", "--shadow", "echo:2.0"), "shadow start"),
        ("shadow_mode_report.py", ("--production", "echo:1.0", "--shadow", "other:2.0"), "two versions of one model"),
    ],
)
def test_a_name_that_means_nothing_is_refused(desk: Desk, script: str, arguments: tuple[str, ...], said: str) -> None:
    code, words = desk.type(script, *(argument.replace("STORE", str(desk.store)) for argument in arguments))
    assert code == 1 and said in words and "Traceback" not in words, words


def test_the_one_open_rollout_is_watched_without_being_named(desk: Desk) -> None:
    assert desk.type("deploy_canary.py", "--model", "echo")[0] == 0
    code, words = desk.type("monitor_canary.py", "--duration", "1")
    assert code == 0 and "1.0 -> 2.0" in words, words


def test_an_emptied_ledger_is_named_by_what_was_noted_outside(desk: Desk) -> None:
    with desk.database.reading() as connection:
        assert Heads(heads_file(desk.settings)).follow(connection) == 1
        (row,) = ledger.entries(connection)
    code, words = desk.type("rollout", "ledger", "verify", "--head", f"1:{row.hash[:12]}")
    assert code == 0 and "as --head has noted, up to row 1" in words and "as ledger.heads has noted" in words
    assert "not the one" not in words
    code, words = desk.type("rollout", "ledger", "verify", "--head", f"1:{'0' * 12}")
    assert code == 1 and "row 1: rewritten" in words
    with desk.database.writing() as connection:
        untie(connection)
        connection.execute(sa.delete(LEDGER))
    code, words = desk.type("rollout", "ledger", "verify")
    assert code == 1 and "every row was deleted: ledger.heads has noted row 1" in words
    heads_file(desk.settings).unlink()
    code, words = desk.type("rollout", "ledger", "verify")
    assert code == 1 and "where heads are noted, is missing" in words


def test_an_open_rollout_is_rolled_back_at_once(desk: Desk) -> None:
    desk.type("deploy_canary.py", "--model", "echo", "--version", "2.0")
    desk.step()
    code, words = desk.type("rollback.py", "--model", "echo", "--reason", "smoke")
    assert code == 0 and "all traffic returns to 1.0" in words
    assert declared(desk.database, "echo") == {"1.0": 100, "2.0": 0}
    desk.step()
    assert latest(desk.database, "echo").phase == "aborted"


def test_a_shadow_is_started_and_stopped(desk: Desk) -> None:
    code, words = desk.type("rollout", "shadow", "start", "--model", "echo", "--version", "2.0", "--share", "0.2")
    assert code == 0, words
    desk.step()
    assert latest(desk.database, "echo").phase == "shadow" and declared(desk.database, "echo") == {"1.0": 1, "2.0": 0}
    assert desk.type("rollout", "shadow", "stop", "--model", "echo")[0] == 0
    assert declared(desk.database, "echo") == {"1.0": 1}


def test_an_archive_that_was_altered_is_not_deployed(desk: Desk) -> None:
    good = desk.store / "echo-2.0.mar"
    rewritten(good, desk.store / "altered.mar", {"service.py": b"pass"}).replace(good)
    code, words = desk.type("deploy_canary.py", "--model", "echo", "--version", "2.0")
    assert code == 1 and "service.py: altered after certification" in words
    assert declared(desk.database, "echo") == {"1.0": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["deploy_canary.py", "--model", "echo", "--version", "9.0"], "no echo-9.0.mar in"),
        (["deploy_canary.py", "--model", "echo", "--version", "1.0"], "served already"),
        (["deploy_canary.py", "--model", "echo", "--version", "2.0", "--percentage", "0.05"], "equal to 0.001"),
        (
            ["deploy_canary.py", "--model", "echo", "--version", "2.0", "--percentage", "100", "--policy", AB_POLICY],
            "a test has two",
        ),
        (["deploy_canary.py", "--model", "echo", "--version", "2.0", "--metric", "f1"], "No A/B test has this policy"),
        (["rollback.py", "--model", "echo"], "no version before"),
        (["rollback.py", "--model", "echo", "--to", "7.0"], "no version 7.0"),
        (["rollout", "pause", "--model", "echo"], "no rollout is open"),
        (["rollout", "explain", "--model", "echo"], "no rollout of echo"),
        (["rollout", "shadow", "stop", "--model", "echo"], "no shadow"),
    ],
)
def test_what_cannot_be_done_says_why(desk: Desk, arguments: list[str], words: str) -> None:
    code, said = desk.type(*arguments)
    assert code == 1 and words in said and "Traceback" not in said


def test_no_password_is_printed(postgres_server: Postgres, desk: Desk) -> None:
    url = sa.make_url(postgres_server.fresh("status")).set(password="secret")
    desk.env["MARINA_DATABASE_URL"] = url.render_as_string(hide_password=False)
    code, words = desk.type("rollout", "status")
    assert code == 0 and "no version is desired in postgresql" in words and "secret" not in words


@pytest.mark.parametrize(
    ("script", "example"),
    [
        ("deploy_canary.py", "python scripts/deploy_canary.py "),
        ("rollback.py", "python scripts/rollback.py "),
        ("rollout", "python -m marina.rollout "),
    ],
)
def test_each_shows_an_example(desk: Desk, script: str, example: str) -> None:
    code, words = desk.type(script, "--help")
    assert code == 0 and example in words

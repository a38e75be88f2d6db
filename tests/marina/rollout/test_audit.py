"""What is done to the ledger by somebody who may write the database, and how an audit names it."""

import dataclasses
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from archives.keys import Key, own_key
from marina.database.backup import back_up
from marina.database.connection import Database
from marina.database.tables import APPROVALS, LEDGER, ROLLOUTS, VERDICTS
from marina.releases import ledger
from marina.releases.heads import Head, Heads, HeadsError, heads_file, ledger_key, ledger_keyring, open_database
from marina.releases.ledger import Entry
from marina.rollout import operator_commands, verdicts
from marina.rollout.audit import audit
from marina.settings import ROOT, Settings
from tests.marina.rollout.releases import Releases, bad, begin, latest, serve
from tests.marina.rollout.untied import untie


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", database_url=SecretStr(database_url))


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """A database in which a canary was approved, let in, and rolled back by a verdict."""
    made = open_database(settings)
    made.upgrade()
    serve(made)
    releases = Releases(made)
    begin(made, approvals=1, steps=({"share": 0.05, "at_least_s": 60}, {"share": 1.0, "at_least_s": 60}))
    operator_commands.approve(made, "sums", "ben", releases.now)
    releases.run(10)
    bad(made)
    releases.run(20)
    assert latest(made).phase in ("rolling back", "rolled back")
    yield made
    made.close()


@pytest.fixture
def heads(settings: Settings, database: Database) -> Heads:
    """What was noted outside of the database."""
    made = Heads(heads_file(settings))
    with database.reading() as connection:
        assert made.follow(connection) > 4
    return made


def faults(settings: Settings, database: Database, noted: Heads | None = None) -> list[str]:
    with database.reading() as connection:
        return audit(connection, ledger_keyring(settings), noted.read() if noted else ())


def rows(database: Database) -> list[Entry]:
    with database.reading() as connection:
        return list(ledger.entries(connection))


def rewrite(database: Database, changes: dict[int, dict[str, object]], key: Key | None = None) -> None:
    """Change rows and seal all anew, signed with this key, or else with the signatures as they were."""
    written, previous = rows(database), ledger.FIRST
    with database.writing() as connection:
        untie(connection)
        connection.execute(sa.delete(LEDGER))
        for row in written:
            open_row = dataclasses.replace(row, previous=previous, **changes.get(row.seq, {}))  # type: ignore[arg-type]
            hashed = dataclasses.replace(open_row, hash=open_row.compute_hash())
            hashed = hashed.signed(key) if key else hashed
            connection.execute(sa.insert(LEDGER), dataclasses.asdict(hashed))
            previous = hashed.hash


def number_of(database: Database, action: str) -> int:
    return next(row.seq for row in rows(database) if row.action == action)


def test_what_nobody_touched_has_no_fault(settings: Settings, database: Database, heads: Heads) -> None:
    assert faults(settings, database, heads) == []
    assert all(row.signer == ledger_key(settings).id for row in rows(database))


@pytest.mark.parametrize("statement", ["UPDATE ledger SET who = 'eve'", "DELETE FROM ledger WHERE seq > 2"])
def test_rows_are_neither_changed_nor_deleted(database: Database, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="neither changed nor deleted"), database.writing() as connection:
        connection.exec_driver_sql(statement)


def test_a_row_is_not_replaced_by_inserting_it_again(database: Database) -> None:
    first = rows(database)[0]
    with pytest.raises(sa.exc.DBAPIError), database.writing() as connection:
        connection.execute(sa.insert(LEDGER), dataclasses.asdict(dataclasses.replace(first, who="eve")))
    if database.engine.dialect.name == "sqlite":
        with pytest.raises(sa.exc.DBAPIError, match="neither changed"), database.writing() as connection:
            connection.exec_driver_sql("INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1")
    assert rows(database)[0] == first


def test_a_cut_tail_is_named(settings: Settings, database: Database, heads: Heads) -> None:
    last = rows(database)[-1].seq
    with database.writing() as connection:
        untie(connection)
        connection.execute(sa.delete(LEDGER).where(LEDGER.c.seq > last - 2))
    expected = f"the end was cut off after row {last - 2}: ledger.heads has noted row {last}"
    found = faults(settings, database, heads)
    assert found[0] == expected
    rest = faults(settings, database)
    assert found[1:] == rest, "which a chain cannot show by itself"
    assert all("declarations hold" in fault for fault in rest), "what the rows that are gone have done"


def test_a_cut_tail_with_other_rows_in_its_place_is_named(settings: Settings, database: Database, heads: Heads) -> None:
    last = rows(database)[-1].seq
    with database.writing() as connection:
        untie(connection)
        connection.execute(sa.delete(LEDGER).where(LEDGER.c.seq == last))
        ledger.append(connection, "eve", "note", "sums", {"why": "in its place"}, 5.0)
    assert f"row {last}: rewritten" in faults(settings, database, heads)[0]


def test_an_emptied_table_is_named(settings: Settings, database: Database, heads: Heads) -> None:
    with database.writing() as connection:
        untie(connection)
        connection.execute(sa.delete(LEDGER))
    assert "every row was deleted: ledger.heads has noted row" in faults(settings, database, heads)[0]


def test_a_rewrite_with_all_sealed_anew_is_named_by_signatures_and_by_heads(
    settings: Settings, database: Database, heads: Heads
) -> None:
    rewrite(database, {2: {"who": "eve"}})
    assert "row 2: rewritten, and what follows with it: ledger.heads" in faults(settings, database, heads)[0]
    assert "row 2: the signature is not valid" in faults(settings, database)[0]


def test_a_rewrite_by_somebody_who_has_the_key_is_named_by_heads(
    settings: Settings, database: Database, heads: Heads
) -> None:
    rewrite(database, {2: {"who": "eve"}}, ledger_key(settings))
    assert faults(settings, database) == []
    assert [fault.partition(":")[0] for fault in faults(settings, database, heads)] == ["row 2"]


def test_a_rewrite_without_any_signature_is_named_by_heads(
    settings: Settings, database: Database, heads: Heads
) -> None:
    changes: dict[int, dict[str, object]] = {row.seq: {"signer": None, "signature": None} for row in rows(database)}
    changes[2]["who"] = "eve"
    rewrite(database, changes)
    assert "row 2: rewritten" in faults(settings, database, heads)[0]


def test_a_foreign_head_is_named(settings: Settings, database: Database, tmp_path: Path) -> None:
    stranger = own_key(tmp_path / "stranger.key", tmp_path / "strangers")
    last = rows(database)[-1].seq
    other = Database(settings.database, carried={ledger.KEY: stranger})
    with other.writing() as connection:
        ledger.append(connection, "eve", "note", "sums", {}, 9.0)
    other.close()
    expected = f"row {last + 1}: an unknown signer: signed with {stranger.id[:16]}…, a key that is not known here"
    assert faults(settings, database) == [expected]
    (settings.state_dir / "keys" / "ledger" / "stranger.pem").write_bytes(stranger.public_pem)
    assert faults(settings, database) == [], "another server's, once its key is put beside ours"
    (settings.state_dir / "keys" / "ledger" / "revoked").write_text(stranger.id)
    assert "a key that was revoked" in faults(settings, database)[0]


def test_a_row_without_a_signature_after_signed_ones_is_named(settings: Settings, database: Database) -> None:
    last = rows(database)[-1].seq
    other = Database(settings.database)
    with other.writing() as connection:
        ledger.append(connection, "eve", "note", "sums", {}, 9.0)
    other.close()
    assert faults(settings, database) == [f"row {last + 1}: is not signed; every row since 1 has to be"]


def test_rows_from_before_signing_stay_readable(settings: Settings) -> None:
    old = Database(settings.database)
    old.upgrade()
    serve(old)
    old.close()
    new = open_database(settings)
    with new.writing() as connection:
        ledger.append(connection, "ann", "note", "sums", {}, 9.0)
    assert faults(settings, new) == []
    assert [row.signer is None for row in rows(new)] == [True, False]
    new.close()


@pytest.mark.parametrize("column", ["evidence", "findings", "outcome", "time", "step"])
def test_an_exchanged_verdict_is_named(settings: Settings, database: Database, heads: Heads, column: str) -> None:
    row = number_of(database, "roll back")
    verdict = rows(database)[row - 1].said["verdict"]
    other = {"evidence": "{}", "findings": "[]", "outcome": "promote", "time": 1.5, "step": 7}[column]
    with database.writing() as connection:
        connection.execute(sa.update(VERDICTS).where(VERDICTS.c.id == verdict).values({column: other}))
    expected = f"row {row}: verdict {verdict} is not the one it refers to: it was replaced"
    assert faults(settings, database, heads) == [expected]
    with database.writing() as connection:
        connection.execute(sa.delete(VERDICTS).where(VERDICTS.c.id == verdict))
    assert faults(settings, database, heads) == [f"row {row}: verdict {verdict}, which it refers to, is missing"]


def test_a_verdict_exchanged_together_with_its_hash_is_named(
    settings: Settings, database: Database, heads: Heads
) -> None:
    row = number_of(database, "roll back")
    entry = rows(database)[row - 1]
    with database.writing() as connection:
        connection.execute(sa.update(VERDICTS).where(VERDICTS.c.id == entry.said["verdict"]).values(evidence="{}"))
        digest = verdicts.digest(connection, entry.said["verdict"])
    rewrite(database, {row: {"details": json.dumps({**entry.said, "verdict_sha256": digest})}})
    assert f"row {row}: rewritten" in faults(settings, database, heads)[0]
    assert f"row {row}: the signature is not valid" in faults(settings, database)[0]


def test_an_exchanged_policy_is_named(settings: Settings, database: Database, heads: Heads) -> None:
    with database.writing() as connection:
        policy = json.loads(connection.execute(sa.select(ROLLOUTS.c.policy)).scalar_one())
        connection.execute(sa.update(ROLLOUTS).values(policy=json.dumps({**policy, "approvals": 0})))
    row = number_of(database, "start")
    expected = f"row {row}: the policy of rollout 1 is not the one it started with: it was replaced"
    assert faults(settings, database, heads) == [expected]


def test_an_approval_put_in_or_taken_out_is_named(settings: Settings, database: Database, heads: Heads) -> None:
    with database.writing() as connection:
        connection.execute(sa.insert(APPROVALS), {"rollout": 1, "who": "eve", "time": 5.0})
    expected = "rollout 1: the approval of eve was inserted: no row of the ledger records that eve approved"
    assert faults(settings, database, heads) == [expected]
    with database.writing() as connection:
        connection.execute(sa.delete(APPROVALS))
    row = number_of(database, "approve")
    assert faults(settings, database, heads) == [f"row {row}: the approval of ben for rollout 1 was deleted"]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE declarations SET sha256 = 'e1e1'", "sums 1.0: the declarations hold weight 100, SHA-256 e1e1…, row "),
        ("UPDATE declarations SET weight = 0.5", "sums 1.0: the declarations hold weight 0.5, SHA-256 1111"),
        ("DELETE FROM declarations", "sums 1.0: the declarations hold nothing, row "),
        ("UPDATE declarations SET model = 'other'", "other 1.0: the declarations hold weight 100, SHA-256 1111"),
        ("UPDATE declarations SET version = '0.9'", "sums 0.9: the declarations hold weight 100, SHA-256 1111"),
    ],
)
def test_what_is_declared_and_in_no_row_is_named(
    settings: Settings, database: Database, statement: str, named: str
) -> None:
    with database.writing() as connection:
        connection.execute(sa.text(f"{statement} WHERE model = 'sums' AND version = '1.0'"))
    found = faults(settings, database)
    assert any(fault.startswith(named) for fault in found), found
    assert all("declarations hold" in fault for fault in found)


def test_a_head_noted_by_hand_is_compared(settings: Settings, database: Database) -> None:
    third = rows(database)[2]
    with database.reading() as connection:
        assert audit(connection, None, [Head(3, third.hash[:12], "--head")]) == []
        assert "row 3: rewritten" in audit(connection, None, [Head(3, "0" * 12, "--head")])[0]


def test_heads_are_private_and_only_appended(settings: Settings, database: Database, heads: Heads) -> None:
    assert stat.S_IMODE(heads.path.stat().st_mode) == 0o600
    before = heads.path.read_bytes()
    with database.writing() as connection:
        ledger.append(connection, "ann", "note", "sums", {}, 9.0)
    with database.reading() as connection:
        assert (heads.follow(connection), heads.follow(connection)) == (1, 0)
        assert Heads(heads.path).follow(connection) == 0, "another process finds what this one noted"
    assert heads.path.read_bytes().startswith(before)
    assert len(heads.read()) == len(rows(database))


def test_heads_notice_at_once_that_the_ledger_was_touched(settings: Settings, database: Database, heads: Heads) -> None:
    told: list[str] = []
    heads.keep(database, told.append)
    assert told == []
    rewrite(database, {2: {"who": "eve"}}, ledger_key(settings))
    for _ in range(2):
        heads.keep(database, told.append)
    (said,) = told
    assert "THE LEDGER WAS ALTERED" in said
    with database.reading() as connection, pytest.raises(HeadsError):
        Heads(heads.path).follow(connection)


def test_after_a_restore_heads_are_noted_anew_once_the_old_ones_were_moved_aside(tmp_path: Path) -> None:
    settings, told = Settings(state_dir=tmp_path / "state"), list[str]()
    database = open_database(settings)
    database.upgrade()
    serve(database)
    running, file = Heads(heads_file(settings)), settings.state_dir / "marina.db"
    running.keep(database, told.append)
    back_up(file)
    serve(database, version="2.0")
    running.keep(database, told.append)
    assert told == []
    database.close()
    recipe = (ROOT / "docs" / "OPERATIONS.md").read_text().partition("To go back to the copy")[2].split("```")[1]
    subprocess.run(["sh", "-ec", recipe.replace(".marina/", f"{settings.state_dir}/")], check=True)
    for heads in (running, Heads(heads_file(settings))):  # of a server that went on, of one that was started again
        heads.keep(database, told.append)
    assert len(told) == 1 and "started again" in told[0]
    serve(database, version="3.0")
    running.keep(database, told.append)
    assert [head.seq for head in running.read()] == [1, 2]
    assert faults(settings, database, running) == []
    assert len(list(settings.state_dir.glob("ledger.heads*"))) == 2, "the old ones are kept"
    database.close()


def test_a_line_that_a_full_disk_tore_is_written_again(settings: Settings, database: Database, heads: Heads) -> None:
    whole = heads.path.read_bytes()
    os.truncate(heads.path, len(whole) - 30)
    torn = Heads(heads.path)
    with database.reading() as connection:
        assert torn.follow(connection) == 1
    assert torn.read() == heads.read()
    heads.path.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(HeadsError, match="line 1: expected a row's number and hash"):
        heads.read()

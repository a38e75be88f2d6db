"""Who counts as alive is measured by one clock, the database's."""

import datetime

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import REPLICAS
from marina.releases import replica_status
from tests.marina.rollout.releases import serve, supervise


@pytest.mark.parametrize(("ago", "alive"), [(0, True), (9, True), (11, False), (-3600, False)])
def test_a_supervisor_is_alive_if_it_was_heard_of_lately(database: Database, ago: float, alive: bool) -> None:
    serve(database)
    supervise(database)
    with database.writing() as connection:
        connection.execute(sa.update(REPLICAS).values(seen_at=replica_status.clock(connection) - ago))
        seen = replica_status.read(connection, "sums")
    assert bool(seen.alive) == bool(seen.reports) == alive


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite's is the host's own
def test_hosts_with_other_clocks_agree(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(database)
    supervise(database)
    monkeypatch.setattr("time.time", lambda: datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC).timestamp())
    with database.reading() as connection:
        assert replica_status.read(connection, "sums").alive
    supervise(database)
    monkeypatch.undo()
    with database.reading() as connection:
        assert replica_status.read(connection, "sums").alive

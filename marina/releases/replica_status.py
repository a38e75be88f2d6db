"""What the live supervisors say of a model's versions."""

import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from marina.database.tables import DECLARATIONS, REPLICAS

ALIVE_S = 10.0
"""A supervisor that was last seen longer ago does not count."""


@dataclass(frozen=True)
class Report:
    """One supervisor's word on one version: the columns of `marina.database.tables.REPLICAS`."""

    replica: str
    version: str
    sha256: str
    state: str
    reason: str
    weight: float


@dataclass(frozen=True)
class Replicas:
    """All that is reported of one model.

    Attributes
    ----------
    alive
        Names of the supervisors that were seen recently, whatever they serve.
    declared
        What should run: version to SHA-256.
    reports
        What they say of the model's versions.
    """

    alive: frozenset[str] = frozenset()
    declared: dict[str, str] = field(default_factory=dict)
    reports: tuple[Report, ...] = ()

    def list_missing_replicas(self, version: str) -> list[str]:
        """Say who does not have the version ready yet; nothing when all do, and there is a server."""
        if not self.alive:
            return ["no server is running"]
        found = {one.replica: one for one in self.reports if one.version == version}
        words = []
        for name in sorted(self.alive):
            report = found.get(name)
            if report is None or report.sha256 != self.declared.get(version):
                words.append(f"{name} has not taken it up")
            elif report.state != "ready":
                words.append(f"{name}: {report.state}")
        return words

    def is_ready(self, version: str) -> bool:
        """Whether any live server has the version ready, as it is declared."""
        return any(
            one.version == version and one.state == "ready" and one.sha256 == self.declared.get(version)
            for one in self.reports
        )

    def refusals(self, version: str) -> list[str]:
        """Return the words of those that refuse to serve the version, as it is declared."""
        return [
            f"{one.replica}: {one.reason or 'no reason given'}"
            for one in self.reports
            if one.version == version and one.state == "refused" and one.sha256 == self.declared.get(version)
        ]

    def routing(self, version: str) -> list[str]:
        """Return who still sends traffic to the version."""
        return sorted(one.replica for one in self.reports if one.version == version and one.weight > 0)


def clock(connection: sa.Connection) -> float:
    """Return the database's time, in seconds since 1970.

    Supervisors write by it when they were last seen, and readers use it too: clocks of hosts need not agree.
    """
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.select(sa.extract("epoch", sa.func.clock_timestamp()))).scalar_one())
    return time.time()  # SQLite's is that of the one host that has the file


def is_alive(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Return the condition that a row of `REPLICAS` is of a supervisor that was last seen less than `ALIVE_S` ago."""
    now = clock(connection)
    return REPLICAS.c.seen_at.between(now - ALIVE_S, now + ALIVE_S)  # what lies ahead was said before it was set back


def read(connection: sa.Connection, model: str) -> Replicas:
    """Read the reports on a model; those of supervisors that are not alive are left out."""
    heard = is_alive(connection)
    alive = frozenset(connection.execute(sa.select(REPLICAS.c.replica).where(heard).distinct()).scalars())
    declared = sa.select(DECLARATIONS.c.version, DECLARATIONS.c.sha256).where(DECLARATIONS.c.model == model)
    rows = connection.execute(sa.select(REPLICAS).where(heard, REPLICAS.c.model == model).order_by(REPLICAS.c.replica))
    return Replicas(
        alive,
        {row.version: row.sha256 for row in connection.execute(declared)},
        tuple(Report(row.replica, row.version, row.sha256, row.state, row.reason, row.weight) for row in rows),
    )

"""The tables of the console, beside those of `marina.database.tables`.

`people` is written by marina.console.people, `rule_versions` by marina.console.rule_book; others only read them.
"""

import sqlalchemy as sa

from marina.database.tables import ALERT_ACTIONS, ALERTS, LEDGER, METADATA

_WHO = sa.String(64)

PEOPLE = sa.Table(
    "people",
    METADATA,
    sa.Column("name", _WHO, primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("hash", sa.String(256), nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
    sa.Column("added_by", _WHO, nullable=False),
    sa.Column("revoked_at", sa.Float),
    sa.Column("signed_out_at", sa.Float, nullable=False, server_default="0"),
    comment="Who may use the console, as what; `hash`: argon2 of the token; sessions from before `signed_out_at` are "
    "void.",
)

RULE_VERSIONS = sa.Table(
    "rule_versions",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("who", _WHO, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("rules", sa.Text, nullable=False),
    comment="Every version of the rules that categorise bank labels, as people edited them; the last one is in force "
    "for the next training.",
)

ALERTS_BY_MODEL = sa.Index("alerts_by_model", ALERTS.c.model, ALERTS.c.id)
OPEN_ALERTS = sa.Index("open_alerts", ALERTS.c.resolved_at, ALERTS.c.model, ALERTS.c.level)
ACTIONS_BY_TIME = sa.Index("alert_actions_by_time", ALERT_ACTIONS.c.time)
LEDGER_BY_MODEL = sa.Index("ledger_by_model", LEDGER.c.model, LEDGER.c.seq)
"""For pages of one model among many, for what is open of each, and for what was decided lately."""

"""What users have set, and which recommendations were made to them and found relevant."""

import json
import time
import urllib.parse
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.product_tables import RECOMMENDATIONS, TRUTHS_OF_RULES, USERS
from marina.monitoring.channels import ChannelError, parse_channel
from marina.products.errors import ProductError
from marina.products.recommendations import Recommendation, recommend
from marina.releases import ledger

TRY_AGAIN_S = 60.0
"""After so long an alert that no channel took may be sent again, the first time."""

TENFOLD = 9.0
"""Then it waits this many times as long as has been tried so far: until ten times that have passed."""

DAY_S = 86_400.0
"""It waits no longer than that."""


@dataclass(frozen=True)
class UserSettings:
    """One user's; None: the model's own thresholds."""

    user: str
    suspicious: float | None = None
    anomalous: float | None = None
    channels: tuple[str, ...] = ()
    language: str = "fr"

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds that are set."""
        return {
            name: value
            for name, value in (("suspicious", self.suspicious), ("anomalous", self.anomalous))
            if value is not None
        }


def read(database: Database, user: str) -> UserSettings:
    """Return what a user has set."""
    with database.reading() as connection:
        return _read(connection, user)


def _read(connection: sa.Connection, user: str) -> UserSettings:
    row = connection.execute(sa.select(USERS).where(USERS.c.user == user)).first()
    if row is None:
        return UserSettings(user)
    return UserSettings(user, row.suspicious, row.anomalous, tuple(json.loads(row.channels)), row.language)


def write_channels(database: Database, user: str, channels: Sequence[str], language: str) -> None:
    """Keep where a user's alerts go, and in which language; nothing else of the user's changes."""
    row = {"user": user, "channels": json.dumps(channels), "language": language, "changed_at": time.time()}
    with database.writing(durable=True) as connection:
        database.put(connection, USERS, [row])


def set_thresholds(
    database: Database, user: str, suspicious: float | None, anomalous: float | None,
    beside: Callable[[sa.Connection, UserSettings], None] = lambda connection, before: None,
) -> None:  # fmt: skip
    """Set from which scores on a user's transactions are reported; None for both: from the model's own.

    Nothing else of the user's changes.

    Parameters
    ----------
    beside
        Writes what is to be there if and only if they are set, in the same transaction; it is given what was set.

    Raises
    ------
    ProductError
        When they are not from 0 to 1, in order.
    """
    if (suspicious is None) != (anomalous is None):
        raise ProductError(422, "invalid", "suspicious: expected both thresholds, or neither", field="suspicious")
    if suspicious is not None and anomalous is not None and not 0 <= suspicious <= anomalous <= 1:
        text = "suspicious: expected at most the anomalous threshold, both from 0 to 1"
        raise ProductError(422, "invalid", text, field="suspicious")
    with database.writing(durable=True) as connection:
        ledger.lock(connection)  # of two who set them at once, the second is told of the first's
        beside(connection, _read(connection, user))
        row = {"user": user, "suspicious": suspicious, "anomalous": anomalous, "changed_at": time.time()}
        database.put(connection, USERS, [row])


def check_channels(urls: Sequence[str], hosts: Collection[str]) -> None:
    """Check that alerts may be sent there.

    Raises
    ------
    ProductError
        When one is no channel, or its host is not among those allowed (MARINA_USER_ALERT_HOSTS).
    """
    for index, url in enumerate(urls):
        field = f"channels[{index}]"
        try:
            parse_channel(url)
        except ChannelError as error:
            said = str(error).removeprefix("MARINA_NOTIFY_URLS: ")
            raise ProductError(422, "invalid", f"{field}: {said}", field=field) from None
        host = urllib.parse.urlsplit(url).hostname
        if "*" not in hosts and host not in hosts:
            message = f"{field}: alerts are not sent to {host}. The operator lists hosts in MARINA_USER_ALERT_HOSTS."
            raise ProductError(422, "host_not_allowed", message, field=field)


def add_recommendations(database: Database, user: str, request_id: str, made: Sequence[Recommendation]) -> None:
    """Keep recommendations; those that were made before are left as they are."""
    rows = [
        {"id": one.id, "user": user, "kind": one.kind, "finding": json.dumps(dict(one.finding)),
         "request_id": request_id, "time": time.time()}
        for one in made
    ]  # fmt: skip
    if rows:
        with database.writing() as connection:
            database.add_new(connection, RECOMMENDATIONS, rows)


def take_unsent(database: Database, idents: Sequence[str], now: float) -> set[str]:
    """Return which of some recommendations no channel has taken; no one else gets these for a while.

    Where none takes them, that is longer each time, and begins again when the user's settings change.
    """
    given = RECOMMENDATIONS.c
    changed = sa.func.coalesce(
        sa.select(USERS.c.changed_at).where(USERS.c.user == given.user).scalar_subquery(), given.time
    )
    tried_for = given.tried_at - sa.case((changed > given.time, changed), else_=given.time)
    wait_s = sa.case(
        (tried_for < TRY_AGAIN_S / TENFOLD, TRY_AGAIN_S),
        (tried_for > DAY_S / TENFOLD, DAY_S),
        else_=TENFOLD * tried_for,
    )
    free = sa.or_(given.tried_at.is_(None), given.tried_at + wait_s <= now)
    taken = sa.update(RECOMMENDATIONS).where(given.id.in_(idents), given.alerted_at.is_(None), free)
    with database.writing() as connection:
        return set(connection.execute(taken.values(tried_at=now).returning(given.id)).scalars())


def mark_alerted(database: Database, idents: Collection[str], now: float) -> None:
    """Keep that a channel took recommendations."""
    sent = sa.update(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id.in_(idents))
    with database.writing(durable=True) as connection:
        connection.execute(sent.values(alerted_at=now))


def judge_recommendation(
    database: Database, ident: str, relevant: bool, beside: Callable[[sa.Connection], None] | None = None
) -> bool:
    """Keep whether a user found a recommendation relevant; return whether that was kept.

    Parameters
    ----------
    beside
        Where someone else says what the user told them: writes what is to be there if and only if it is kept, in the
        same transaction. Then it is not kept where the user has said it.
    """
    changed = sa.update(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id == ident)
    if beside is not None:
        changed = changed.where(RECOMMENDATIONS.c.relevant.is_(None))
    with database.writing(durable=True) as connection:
        done = connection.execute(changed.values(relevant=relevant, judged_at=time.time()))
        if done.rowcount and beside is not None:
            beside(connection)
        return bool(done.rowcount)


@dataclass(frozen=True)
class Judged:
    """How recommendations of a kind were found: how many were made, and what users said of them."""

    kind: str
    made: int
    relevant: int
    not_relevant: int

    @property
    def share(self) -> float | None:
        """Of those that users judged, how many they found relevant; None without any."""
        return self.relevant / (self.relevant + self.not_relevant) if self.relevant + self.not_relevant else None


def count_judged(connection: sa.Connection, since: float) -> list[Judged]:
    """Count recommendations since a time by kind."""
    one = RECOMMENDATIONS.c
    counts = (sa.func.count().filter(one.relevant.is_(value)) for value in (True, False))
    chosen = sa.select(one.kind, sa.func.count(), *counts).where(one.time >= since)
    rows = connection.execute(chosen.group_by(one.kind).order_by(one.kind))
    return [Judged(*row) for row in rows]


def latest_recommendations(connection: sa.Connection, count: int) -> Sequence[tuple[sa.Row[Any], Recommendation]]:
    """Return the newest recommendations as they are kept, and as they read."""
    rows = connection.execute(sa.select(RECOMMENDATIONS).order_by(RECOMMENDATIONS.c.time.desc()).limit(count)).all()
    found = [(row, recommend(row.user, "", json.loads(row.finding))) for row in rows]
    return [(row, one) for row, one in found if one is not None]


def add_rule_truth(
    database: Database, request_id: str, instance: int, source: str, predicted: str, label: str, who: str
) -> str:
    """Keep what was true of a rule's transaction; return ``recorded``, ``duplicate`` or ``conflict``."""
    given = TRUTHS_OF_RULES.c
    row = {
        "request_id": request_id, "instance": instance, "source": source, "predicted": predicted, "label": label,
        "who": who, "time": time.time(),
    }  # fmt: skip
    with database.writing(durable=True) as connection:
        mine = sa.select(given.label).where(given.request_id == request_id, given.instance == instance)
        known = connection.execute(mine).scalar()
        if known is None:
            database.add_new(connection, TRUTHS_OF_RULES, [row])
            return "recorded"
    return "duplicate" if known == label else "conflict"

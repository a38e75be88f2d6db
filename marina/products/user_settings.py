"""What users have set, and which recommendations were made to them and found relevant."""

import json
import time
import urllib.parse
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.product_tables import RECOMMENDATIONS, TRUTHS_OF_RULES, USERS
from marina.monitoring.channels import ChannelError, parse_channel
from marina.products.errors import ProductError
from marina.products.recommendations import Recommendation

TRY_AGAIN_S = 60.0
"""After so long an alert that no channel took may be sent again."""


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
        row = connection.execute(sa.select(USERS).where(USERS.c.user == user)).first()
    if row is None:
        return UserSettings(user)
    return UserSettings(user, row.suspicious, row.anomalous, tuple(json.loads(row.channels)), row.language)


def write_thresholds(database: Database, user: str, suspicious: float, anomalous: float) -> None:
    """Keep a user's thresholds; nothing else of the user's changes."""
    _write(database, {"user": user, "suspicious": suspicious, "anomalous": anomalous})


def write_channels(database: Database, user: str, channels: Sequence[str], language: str) -> None:
    """Keep where a user's alerts go, and in which language; nothing else of the user's changes."""
    _write(database, {"user": user, "channels": json.dumps(channels), "language": language})


def _write(database: Database, row: dict[str, object]) -> None:
    with database.writing(durable=True) as connection:
        database.put(connection, USERS, [{**row, "changed_at": time.time()}])


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
    """Return which of some recommendations no channel has taken; no one else gets these for a while."""
    given = RECOMMENDATIONS.c
    free = sa.or_(given.tried_at.is_(None), given.tried_at <= now - TRY_AGAIN_S)
    taken = sa.update(RECOMMENDATIONS).where(given.id.in_(idents), given.alerted_at.is_(None), free)
    with database.writing() as connection:
        return set(connection.execute(taken.values(tried_at=now).returning(given.id)).scalars())


def mark_alerted(database: Database, idents: Collection[str], now: float) -> None:
    """Keep that a channel took recommendations."""
    sent = sa.update(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id.in_(idents))
    with database.writing(durable=True) as connection:
        connection.execute(sent.values(alerted_at=now))


def judge_recommendation(database: Database, ident: str, relevant: bool) -> bool:
    """Keep whether a recommendation was found relevant; return whether there is one of that id."""
    changed = sa.update(RECOMMENDATIONS).where(RECOMMENDATIONS.c.id == ident)
    with database.writing(durable=True) as connection:
        done = connection.execute(changed.values(relevant=relevant, judged_at=time.time()))
        return bool(done.rowcount)


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

"""Alerts to users before the month is over, by the channels that they have set."""

from collections.abc import Collection, Sequence
from typing import Any

from marina.database.connection import Database
from marina.monitoring.channels import ChannelError, Message, parse_channel
from marina.products.errors import ProductError
from marina.products.recommendations import ALERTING, Recommendation
from marina.products.user_settings import check_channels, mark_alerted, read, take_unsent

TITLES = {"fr": "Budget : dépassement probable en {month}", "en": "Budget: likely to be exceeded in {month}"}


def send_alerts(
    database: Database, hosts: Collection[str], user: str, month: str, made: Sequence[Recommendation], now: float
) -> list[dict[str, Any]]:
    """Send what is worth an alert and was not taken before; say of each channel whether it took it, and if not, why.

    Parameters
    ----------
    hosts
        Hosts to which alerts may be sent.
    made
        The recommendations; they are kept.
    now
        Seconds since 1970.
    """
    own = read(database, user)
    worth = [one for one in made if one.kind in ALERTING]
    if not worth or not own.channels:
        return []
    unsent = take_unsent(database, [one.id for one in worth], now)
    due = [one for one in worth if one.id in unsent]
    if not due:
        return []
    text = "\n".join(one.text[own.language] for one in due)
    message = Message(
        TITLES[own.language].format(month=month), text, "alert", tuple({**one.to_dict(), "user": user} for one in due)
    )
    outcomes: list[dict[str, Any]] = []
    for url in own.channels:
        name = "channel"
        try:
            check_channels([url], hosts)  # some may have been taken off the list
            channel = parse_channel(url)
            name = channel.name
            channel.send(message)
        except (ChannelError, ProductError) as error:
            outcomes.append({"channel": name, "sent": False, "why": str(error)})
            continue
        outcomes.append({"channel": name, "sent": True, "recommendations": [one.id for one in due]})
    if any(one["sent"] for one in outcomes):
        mark_alerted(database, unsent, now)
    return outcomes

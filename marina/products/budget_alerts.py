"""Alerts to users before the month is over, by the channels that they have set."""

from collections.abc import Collection, Sequence
from typing import Any

from marina.monitoring.channels import ChannelError, Message, parse_channel
from marina.products.context import Context
from marina.products.errors import ProductError
from marina.products.recommendations import ALERTING, Recommendation
from marina.products.user_settings import check_channels, read

TITLES = {"fr": "Budget : dépassement probable en {month}", "en": "Budget: likely to be exceeded in {month}"}


def send_alerts(
    context: Context, user: str, month: str, made: Sequence[Recommendation], new: Collection[str]
) -> list[dict[str, Any]]:
    """Send what is new and worth an alert; say of each channel whether it took it, and if not, why.

    Parameters
    ----------
    made
        The recommendations.
    new
        Ids of those that were not made before.
    """
    due = [one for one in made if one.kind in ALERTING and one.id in new]
    own = read(context.database, user)
    if not due or not own.channels:
        return []
    text = "\n".join(one.text[own.language] for one in due)
    message = Message(
        TITLES[own.language].format(month=month), text, "alert", tuple({**one.to_dict(), "user": user} for one in due)
    )
    outcomes = []
    for url in own.channels:
        name = "channel"
        try:
            check_channels([url], context.settings.user_alert_hosts)  # hosts may have been taken off the list
            channel = parse_channel(url)
            name = channel.name
            channel.send(message)
        except (ChannelError, ProductError) as error:
            outcomes.append({"channel": name, "sent": False, "why": str(error)})
            continue
        outcomes.append({"channel": name, "sent": True, "recommendations": [one.id for one in due]})
    return outcomes

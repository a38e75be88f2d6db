"""Ways to reach people: a webhook, Slack, e-mail, the log. Each is named by a URL (MARINA_NOTIFY_URLS).

They are few and need no library that is not here already: httpx, and the standard library's SMTP.
"""

import email.message
import email.utils
import smtplib
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from archives.errors import MarinaError
from marina.monitoring.alerts import LEVELS, Level

PATIENCE_S = 5.0
"""How long a channel may take to connect, and to answer."""


class ChannelError(MarinaError):
    """A URL names no channel, or a channel did not take a message; the text holds no secret."""


@dataclass(frozen=True)
class Message:
    """What people are told: one or several alerts.

    Attributes
    ----------
    title
        One line.
    text
        A line per alert.
    level
        The most urgent of them.
    details
        The alerts as JSON values.
    """

    title: str
    text: str
    level: Level
    details: tuple[Mapping[str, Any], ...] = ()


class Channel(Protocol):
    """One way to reach people."""

    @property
    def name(self) -> str:
        """What it is, without a secret: for the log, and for the alert that it is dead."""

    @property
    def level(self) -> Level:
        """The least urgent level that it takes."""

    def send(self, message: Message) -> None:
        """Hand a message over.

        Raises
        ------
        ChannelError
            When it was not taken.
        """


@dataclass(frozen=True)
class Webhook:
    """Posts JSON: ``{"title", "text", "level", "alerts"}``; to Slack ``{"text"}`` alone."""

    url: str
    level: Level
    slack: bool = False

    @property
    def name(self) -> str:
        """Its kind and host."""
        return f"{'slack' if self.slack else 'webhook'} {urllib.parse.urlsplit(self.url).hostname}"

    def send(self, message: Message) -> None:
        """Post it."""
        body: dict[str, Any] = {"text": f"*{message.title}*\n{message.text}" if self.slack else message.text}
        if not self.slack:
            body |= {"title": message.title, "level": message.level, "alerts": list(message.details)}
        try:
            httpx.post(self.url, json=body, timeout=PATIENCE_S).raise_for_status()
        except httpx.HTTPStatusError as error:
            raise ChannelError(f"{self.name} answered {error.response.status_code}") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ChannelError(f"{self.name} cannot be reached: {type(error).__name__}") from None


@dataclass(frozen=True)
class Mail:
    """Sends an e-mail; the connection is encrypted before a password is sent."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    level: Level
    user: str = ""
    password: str = ""
    tls: bool = False

    @property
    def name(self) -> str:
        """Its kind and host."""
        return f"mail {self.host}"

    def send(self, message: Message) -> None:
        """Hand it to the mail server."""
        mail = email.message.EmailMessage()
        mail["Subject"] = " ".join(message.title.split())[:200]
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Date"], mail["Message-ID"] = email.utils.formatdate(), email.utils.make_msgid(domain="marina")
        mail.set_content(message.text)
        context = ssl.create_default_context()
        try:
            with (
                smtplib.SMTP_SSL(self.host, self.port, timeout=PATIENCE_S, context=context)
                if self.tls
                else smtplib.SMTP(self.host, self.port, timeout=PATIENCE_S)
            ) as server:
                if not self.tls and server.has_extn("starttls"):
                    server.starttls(context=context)
                if self.user:
                    if not self.tls and not server.has_extn("starttls"):
                        raise ChannelError(f"{self.name} offers no encryption, so no password is sent to it")
                    server.login(self.user, self.password)
                server.send_message(mail)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise ChannelError(f"{self.name} did not take the mail: {type(error).__name__}") from None


@dataclass(frozen=True)
class LogChannel:
    """Writes a message to the log; the last resort, and always there."""

    write: Callable[[str], None]
    name: str = "log"
    level: Level = "warning"

    def send(self, message: Message) -> None:
        """Write it."""
        self.write(f"{message.title}: {message.text}" if message.text else message.title)


def parse_channel(url: str) -> Channel:
    """Return the channel that a URL names.

    Parameters
    ----------
    url
        ``https://…``, ``http://…``, ``slack+https://…``, ``smtp://USER:PASSWORD@HOST:587/?from=A&to=B&to=C`` or
        ``smtps://…``, each with ``level=warning``, ``alert`` or ``critical`` in its query for the least it takes.

    Raises
    ------
    ChannelError
        When it names none; the text does not repeat it, since secrets are in such URLs.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port, query = parts.port, urllib.parse.parse_qs(parts.query)
    except ValueError:
        raise ChannelError("MARINA_NOTIFY_URLS: one of them is no URL") from None
    asked = query.pop("level", ["alert"])[0]
    level = next((one for one in LEVELS if one == asked), None)
    if level is None or not parts.hostname:
        raise ChannelError(f"MARINA_NOTIFY_URLS: a URL needs a host, and its level is one of {', '.join(LEVELS)}")
    match parts.scheme:
        case "http" | "https" | "slack+https" | "slack+http":
            kept = parts._replace(
                scheme=parts.scheme.removeprefix("slack+"), query=urllib.parse.urlencode(query, doseq=True)
            )
            return Webhook(kept.geturl(), level, parts.scheme.startswith("slack+"))
        case "smtp" | "smtps":
            to = tuple(query.get("to", ()))
            if not to:
                raise ChannelError("MARINA_NOTIFY_URLS: smtp://HOST/?to=ADDRESS names no receiver")
            tls = parts.scheme == "smtps"
            return Mail(
                parts.hostname,
                port or (465 if tls else 587),
                query.get("from", ["marina@localhost"])[0],
                to,
                level,
                urllib.parse.unquote(parts.username or ""),
                urllib.parse.unquote(parts.password or ""),
                tls,
            )
    raise ChannelError(
        f"MARINA_NOTIFY_URLS: {parts.scheme}:// is no channel; expected https, slack+https, smtp or smtps"
    )

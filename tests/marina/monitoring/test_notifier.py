import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from archives.errors import MarinaError
from marina.database.connection import Database
from marina.monitoring.alerts import Finding, Level, open_alert, open_alerts, resolve_alert
from marina.monitoring.channels import ChannelError, Mail, Message, Webhook, parse_channel
from marina.monitoring.notifier import DEAD, MARKET_INTERVAL_S, MOST_LINES, Notifier

FOUND = Finding("m", "1.0", "drift", "labels", "critical", "labels moved", 50.0, 0.1, 9.0, 8.0, "3 points", "x.html")


@dataclass
class Fake:
    name: str = "fake"
    level: Level = "alert"
    dead: bool = False
    heard: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        if self.dead:
            raise ChannelError("fake cannot be reached")
        self.heard.append(message)


def make(database: Database, *channels: Fake) -> tuple[Notifier, list[str]]:
    said: list[str] = []
    return Notifier(database, channels, said.append, "here 1"), said


def test_each_is_told_once_by_level_and_the_log_has_all(database: Database) -> None:
    fake, urgent = Fake(), Fake(level="critical")
    notifier, said = make(database, fake, urgent)
    open_alert(database, replace(FOUND, level="warning"), 100.0)
    assert (notifier.step(200.0), notifier.step(202.0)) == (1, 0)
    assert fake.heard == [] and len(said) == 1 and "labels moved" in said[0]
    number = open_alert(database, replace(FOUND, level="alert"), 210.0)
    notifier.step(300.0)
    open_alert(database, FOUND, 310.0)
    notifier.step(311.0)
    resolve_alert(database, number, 320.0, "as before")
    notifier.step(400.0)
    assert [one.title for one in fake.heard] == [
        "Marina: labels alert", "Marina: labels critical", "Marina: labels resolved"
    ]  # fmt: skip
    assert len(urgent.heard) == 2


def test_a_storm_is_one_message(database: Database) -> None:
    fake = Fake()
    notifier, _ = make(database, fake)
    for number in range(50):
        open_alert(database, replace(FOUND, model=f"m{number}", level="alert"), 100.0)
    assert notifier.step(101.0) == 0  # others may come
    assert notifier.step(115.0) == 50
    [message] = fake.heard
    assert message.title == "Marina: labels alert and 49 more"
    assert len(message.text.splitlines()) == MOST_LINES + 1 and "30 more" in message.text


def test_a_dead_channel_holds_nothing_up_is_an_alert_and_gets_what_it_missed(database: Database) -> None:
    dead, good = Fake("dead", dead=True), Fake("good")
    notifier, said = make(database, dead, good)
    open_alert(database, FOUND, 100.0)
    notifier.step(101.0)
    notifier.step(140.0)
    with database.reading() as connection:
        assert [one.name for one in open_alerts(connection)] == ["labels", DEAD]
    assert [one.title for one in good.heard] == ["Marina: labels critical", f"Marina: {DEAD} alert"]
    dead.dead = False
    notifier.step(1000.0)
    assert dead.heard[0].title == "Marina: labels critical"
    with database.reading() as connection:
        assert [one.name for one in open_alerts(connection)] == ["labels"]
    assert any("cannot be reached" in line for line in said)


def test_the_markets_are_six_hours_apart_and_critical_ones_are_not_held(database: Database) -> None:
    fake = Fake()
    notifier, _ = make(database, fake)
    market = replace(FOUND, model="market_alerts", level="alert")
    told = []
    for hour in range(30):
        now = 1000.0 + 3600 * hour
        open_alert(database, replace(market, name=f"n{hour}"), now)
        if notifier.step(now + 60):
            told.append(hour)
    assert told == [0, 6, 12, 18, 24]
    open_alert(database, replace(market, name="urgent", level="critical"), 1000.0 + 3600 * 29 + 100)
    notifier.step(1000.0 + 3600 * 29 + 161)
    assert fake.heard[-1].level == "critical" and MARKET_INTERVAL_S == 21600


def test_of_two_servers_one_notifies(database: Database) -> None:
    here, there = Fake(), Fake()
    first = Notifier(database, [here], lambda _: None, "here 1")
    second = Notifier(database, [there], lambda _: None, "there 2")
    open_alert(database, FOUND, 100.0)
    assert (first.step(101.0), second.step(102.0)) == (1, 0)
    assert len(here.heard) == 1 and there.heard == []


class Hook(http.server.BaseHTTPRequestHandler):
    bodies: list[dict[str, object]] = []  # noqa: RUF012 - one for the test's server

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if self.path.startswith("/dead") else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_webhooks_get_json_and_slack_its_own(hook: str) -> None:
    Hook.bodies.clear()
    message = Message("Marina: x", "one line", "alert", ({"id": 1},))
    parse_channel(f"{hook}/a?key=1&level=warning").send(message)
    parse_channel(f"slack+{hook}/b").send(message)
    assert Hook.bodies == [
        {"text": "one line", "title": "Marina: x", "level": "alert", "alerts": [{"id": 1}]},
        {"text": "*Marina: x*\none line"},
    ]
    with pytest.raises(ChannelError, match="answered 500") as error:
        parse_channel(f"{hook}/dead?token=secret").send(message)
    assert "secret" not in str(error.value)


def test_urls_name_channels_and_wrong_ones_are_refused_without_being_repeated() -> None:
    hook = parse_channel("slack+https://hooks.example/T/secret?level=critical")
    assert hook == Webhook("https://hooks.example/T/secret", "critical", slack=True) and "secret" not in hook.name
    mail = parse_channel("smtp://ada:p%40ss@mail.example:2525/?from=a@b.c&to=d@e.f&to=g@h.i")
    assert mail == Mail("mail.example", 2525, "a@b.c", ("d@e.f", "g@h.i"), "alert", "ada", "p@ss")
    for wrong in ("ftp://secret/", "https://", "smtp://secret/", "https://secret/?level=loud", "http://secret:x/"):
        with pytest.raises(MarinaError, match="MARINA_NOTIFY_URLS") as error:
            parse_channel(wrong)
        assert "secret" not in str(error.value)


def test_a_mail_server_that_is_not_there_is_a_dead_channel() -> None:
    with pytest.raises(ChannelError, match="did not take the mail"):
        Mail("127.0.0.1", 1, "a@b.c", ("d@e.f",), "alert").send(Message("x", "y", "alert"))

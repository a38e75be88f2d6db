"""Tells people of alerts, once each: by the channels of the settings, and always by the log.

Alerts that come together go out together, so a storm is one message. A channel that does not answer holds nothing up:
its messages wait, longer after each failure, and that it is dead is an alert itself, which the others carry.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from marina.database.connection import AWAY, Database
from marina.database.outage import Outage
from marina.events.label_counts import MARKET
from marina.monitoring import alerts
from marina.monitoring.alerts import LEVELS, Alert, Finding
from marina.monitoring.channels import Channel, LogChannel, Message
from marina.processes.guard import Guard
from marina.releases.lease import Lease

LOOK_S = 2.0
"""How often it is looked for alerts that no one was told of."""

TOGETHER_S = 10.0
"""How long others are waited for that belong to the same storm; never with one that is critical."""

MOST_LINES = 20
"""Alerts that one message lists; of further ones it says how many."""

MOST_WAITING = 100
"""Messages that wait for a channel; the oldest is given up."""

FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 600.0

MARKET_INTERVAL_S = 360 * 60.0
"""Between two messages of the market model's alerts that are not critical, so four a day at most."""

DEAD = "NotificationChannelDead"


@dataclass
class _Queue:
    """What waits for one channel."""

    channel: Channel
    waiting: deque[Message] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    wait_s: float = 0.0
    next_try: float = 0.0


class Notifier:
    """Looks for news, and passes them on.

    Parameters
    ----------
    database
        Where alerts are.
    channels
        Those of the settings.
    write
        Writes a line of the log.
    holder
        Who this is: of several servers that share the database one notifies.
    """

    def __init__(
        self, database: Database, channels: Sequence[Channel], write: Callable[[str], None], holder: str
    ) -> None:
        self._database = database
        self._log = LogChannel(write)
        self._write = write
        self._queues = [_Queue(channel) for channel in channels]
        self._lease = Lease("notifier", holder)
        self._market_at: float | None = None

    def step(self, now: float) -> int:
        """Tell of what is new, and try again what a channel did not take; return how many alerts were new.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            One of `marina.database.connection.AWAY` when the database is unavailable; call it again.
        """
        with self._database.writing() as connection:
            mine = self._lease.take(connection, now)
        found: list[Alert] = []
        if mine:
            with self._database.reading() as connection:
                found = self._choose(alerts.unsent(connection), now)
            if found:
                alerts.mark_sent(self._database, found)  # before: told twice is worse than once in the log alone
                self._pass_on(found)
        self._try(now)
        return len(found)

    def _choose(self, found: list[Alert], now: float) -> list[Alert]:
        of_market = [one for one in found if one.model == MARKET and one.level != "critical"]
        held = self._market_at is not None and now - self._market_at < MARKET_INTERVAL_S
        chosen = [one for one in found if not (held and one in of_market)]
        urgent = any(one.level == "critical" for one in chosen)
        if not urgent and chosen and now - max(one.updated_at for one in chosen) < TOGETHER_S:
            oldest = min(one.updated_at for one in chosen)
            if 0 <= now - oldest < 3 * TOGETHER_S:  # a storm without end is not waited for
                return []
        if any(one in of_market for one in chosen):
            self._market_at = now
        return chosen

    def _pass_on(self, found: Sequence[Alert]) -> None:
        self._log.send(compose(found))
        for queue in self._queues:
            least = LEVELS.index(queue.channel.level)
            if mine := [one for one in found if LEVELS.index(one.level) >= least]:
                queue.waiting.append(compose(mine))

    def _try(self, now: float) -> None:
        for queue in self._queues:
            try:
                while queue.waiting and now >= queue.next_try:
                    queue.channel.send(queue.waiting[0])
                    queue.waiting.popleft()
                    if queue.wait_s:
                        queue.wait_s = 0.0
                        self._report(queue.channel, None, now)
            except Exception as error:  # whatever is wrong with a channel's address holds up no other
                first = not queue.wait_s
                queue.wait_s = min(LONGEST_WAIT_S, 2 * queue.wait_s or FIRST_WAIT_S)
                queue.next_try = now + queue.wait_s
                if first:
                    self._report(queue.channel, str(error), now)

    def _report(self, channel: Channel, failure: str | None, now: float) -> None:
        """Open or end the alert that a channel is dead: one per channel, whose name stands as the version."""
        which = channel.name.replace(" ", "-")[:64]
        if failure is not None:
            self._write(f"{failure}; its messages wait")
            dead = Finding("", which, "notifier", DEAD, "alert", failure, now, 1.0, 0.0, 0.0, "", "")
            alerts.open_alert(self._database, dead, now)
            return
        with self._database.reading() as connection:
            number = alerts.find_open(connection, "", which, "notifier", DEAD)
        if number is not None:
            alerts.resolve_alert(self._database, number, now, "it takes messages again")


def compose(found: Sequence[Alert]) -> Message:
    """Write a message about one or several alerts, the most urgent first."""
    ordered = sorted(found, key=lambda one: (one.resolved_at is not None, -LEVELS.index(one.level), one.id))
    lines = [_line(one) for one in ordered[:MOST_LINES]]
    if len(ordered) > MOST_LINES:
        lines.append(f"and {len(ordered) - MOST_LINES} more: scripts/alerts.py list")
    first = ordered[0]
    title = f"Marina: {first.name} {_state(first)}" + (f" and {len(ordered) - 1} more" if len(ordered) > 1 else "")
    details = tuple(dataclasses.asdict(one) for one in ordered[:MOST_LINES])
    level = max((one.level for one in ordered), key=LEVELS.index)
    return Message(title, "\n".join(lines), level, details)


def _line(one: Alert) -> str:
    of = " ".join(part for part in (one.model, one.version) if part)
    said = f"[{_state(one)}] {one.name}" + (f" ({of})" if of else "") + f": {one.what}"
    for extra in (one.harm and f"harm: {one.harm}", one.link):
        said += f"; {extra}" if extra else ""
    return said


def _state(one: Alert) -> str:
    return one.level if one.resolved_at is None else "resolved"


class NotifierThread:
    """Runs a notifier as long as the process runs."""

    def __init__(self, notifier: Notifier, write: Callable[[str], None]) -> None:
        self._notifier, self._write = notifier, write
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        outage, guard = Outage(self._write, "no one is told of alerts"), Guard(self._write)
        while True:
            time.sleep(LOOK_S)
            try:
                with guard.part("telling people of alerts", passing=AWAY):
                    self._notifier.step(time.time())
                outage.end()
            except AWAY as error:
                outage.begin(error)

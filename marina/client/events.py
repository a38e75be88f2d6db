"""Server-sent events, line by line (the WHATWG HTML standard, section "Server-sent events")."""

from __future__ import annotations

import json

from marina.client.answers import Event


class Reader:
    """Makes events of lines, and remembers where to take a stream up again.

    Attributes
    ----------
    last_id
        Id of the last whole event.
    pause_s
        How long the server wants to be left alone after a connection broke.

    Examples
    --------
    >>> reader = Reader()
    >>> [reader.feed(line) for line in ("id: 7", "event: alert", 'data: {"a": 1}', "")][-1]
    Event(name='alert', id='7', data={'a': 1})
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.pause_s = 2.0
        self.clear()

    def clear(self) -> None:
        """Forget an event of which the rest did not come."""
        self._name, self._data, self._id = "", list[str](), self.last_id

    def feed(self, line: str) -> Event | None:
        """Take a line without its end; return the event that it ends, if it does."""
        if not line:
            name, data = self._name or "message", "\n".join(self._data)
            there, self.last_id = bool(self._data), self._id
            self.clear()
            return Event(name, self.last_id, _read(data)) if there else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isdecimal():
            self.pause_s = int(value) / 1000
        return None


def _read(data: str) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data

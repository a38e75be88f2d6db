"""Reads a commit as git stores it, whatever its names, message and date are made of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from training.code_health.mining.git import text

AHEAD_S: Final = 3600
"""A date so far after now is a clock's fault, and no later one is believed."""

_IDENTITY: Final = re.compile(r"([^<]*)<(.*)>([^>]*)", re.S)
_BARE: Final = re.compile(r"(.*?)()(\s-?\d+ [+-]\d+)?", re.S)  # without an address
_DATE: Final = re.compile(r"\s*([+-]?\d+)(?:\s|$)")


@dataclass(frozen=True)
class Change:
    """One changed source file of a commit: lines, and the blobs and paths on both sides."""

    path: str
    old_path: str
    before: str
    after: str
    added: int
    deleted: int


@dataclass(frozen=True)
class Commit:
    """One commit as git tells it.

    Attributes
    ----------
    time_s
        When it was committed, in seconds since 1970; 0 where its date is impossible.
    author
        The name, or the address where there is none.
    misdated
        What is wrong with the date; empty where it is possible.
    """

    hash: str
    parents: tuple[str, ...]
    time_s: int
    author: str
    message: str
    misdated: str = ""
    changes: list[Change] = field(default_factory=list)


def read_commit(raw: bytes, now_s: float) -> Commit:
    """Read what `git rev-list --header` prints of one commit.

    Parameters
    ----------
    raw
        Its hash, its headers and, four blanks in, its message.
    now_s
        Seconds since 1970; a date that is more than `AHEAD_S` later is impossible.
    """
    head, _, message = text(raw).partition("\n\n")
    name, *lines = head.split("\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(" ")
        headers.setdefault(key, []).append(value)
    author, mail, _ = _split(headers.get("author", [""])[0])
    time_s, misdated = _date(_split(headers.get("committer", [""])[0])[2], now_s)
    shown = "\n".join(line.removeprefix("    ") for line in message.split("\n"))
    return Commit(name.strip(), tuple(headers.get("parent", ())), time_s, author or mail, shown, misdated)


def _split(identity: str) -> tuple[str, str, str]:
    """Split a name, an address and a date; each may be missing."""
    found = _IDENTITY.fullmatch(identity) or _BARE.fullmatch(identity)
    return (found[1].strip(), found[2].strip(), found[3] or "") if found else (identity, "", "")


def _date(said: str, now_s: float) -> tuple[int, str]:
    """Return seconds since 1970, and what is wrong with them."""
    found = _DATE.match(said)
    if found is None or len(found[1]) > 20:
        return 0, f"dated {said.strip()!r}, which is no date" if said.strip() else "without a date"
    time_s = int(found[1])
    if time_s < 0:
        return 0, "dated before 1970"
    if time_s > now_s + AHEAD_S:
        try:
            day = f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d}"
        except (OverflowError, ValueError, OSError):
            day = f"{time_s} s after 1970"
        return 0, f"dated {day}, which is after now"
    return time_s, ""

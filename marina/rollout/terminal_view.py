"""A rollout as it stands, drawn for a terminal from nothing but the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from marina.database.tables import DECLARATIONS, EVIDENCE
from marina.events import latency_histogram
from marina.events.access_log import WINDOW_S
from marina.processes.console import plain
from marina.releases import replica_status
from marina.rollout import verdicts
from marina.rollout.explain import heading
from marina.rollout.judge.decision import Finding, Verdict
from marina.rollout.rollouts import Rollout, describe, last_rollout_of, rollout_of

RECENT_S = 60
"""Traffic is shown over this time."""

BAR = 16
"""Characters of a bar of evidence."""


@dataclass(frozen=True)
class Traffic:
    """One version's requests of the last `RECENT_S`.

    Attributes
    ----------
    share
        Declared share of the model's requests.
    requests, errors
        Counts.
    p95_ms
        None without requests.
    states
        What each live server says of it, as text.
    """

    version: str
    share: float
    requests: int
    errors: int
    p95_ms: float | None
    states: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """Everything that is drawn.

    Attributes
    ----------
    rollout
        The open one, else the last one; None if there never was any.
    verdict, verdict_age_s
        The last one that was kept, and how old it is.
    """

    model: str
    rollout: Rollout | None
    traffic: tuple[Traffic, ...]
    verdict: Verdict | None
    verdict_age_s: float


def look(connection: sa.Connection, model: str, now: float) -> View:
    """Read what is to be drawn; `now` is in seconds since 1970."""
    rollout = rollout_of(connection, model) or last_rollout_of(connection, model)
    kept = verdicts.last(connection, rollout.id) if rollout and rollout.ended_at is None else None
    return View(
        model,
        rollout,
        tuple(_traffic(connection, model, now)),
        kept.verdict() if kept else None,
        now - kept.time if kept else 0.0,
    )


def _traffic(connection: sa.Connection, model: str, now: float) -> list[Traffic]:
    declared = sa.select(DECLARATIONS).where(DECLARATIONS.c.model == model).order_by(DECLARATIONS.c.declared_at)
    rows = connection.execute(declared).all()
    total = sum(row.weight for row in rows) or 1.0
    reports = replica_status.read(connection, model).reports
    recent = sa.select(EVIDENCE).where(
        EVIDENCE.c.model == model, EVIDENCE.c.start >= int(now - RECENT_S) // WINDOW_S * WINDOW_S
    )
    windows = connection.execute(recent).all()
    traffic = []
    for row in rows:
        mine = [window for window in windows if window.version == row.version]
        times: Counter[int] = Counter()
        for window in mine:
            times.update(latency_histogram.from_json(window.latencies))
        requests, errors = sum(window.requests for window in mine), sum(window.errors for window in mine)
        p95_ms = latency_histogram.quantile(times, 0.95) if times else None
        states = tuple(
            f"{one.replica} {one.state}{f' ({one.reason})' if one.reason else ''}"
            for one in reports
            if one.version == row.version
        )
        traffic.append(Traffic(row.version, row.weight / total, requests, errors, p95_ms, states))
    return traffic


def render(view: View) -> RenderableType:
    """Draw it, for a terminal of at least 80 columns."""
    if not view.traffic:
        return Text(f"{view.model} is not served here. Start it with scripts/serve.py, or check the name.")
    rollout = view.rollout
    parts: list[RenderableType] = [_versions(view)]
    if rollout is None:
        title = f"{view.model}: no rollout yet"
    elif rollout.ended_at is not None:
        title = f"{view.model}: no open rollout"
        parts.append(Text(plain(f"The last was {heading(rollout)}. {rollout.note}"), style="dim"))
    else:
        title = heading(rollout)
        if view.verdict:
            parts += [_gates(view.verdict.findings), _verdict_line(view.verdict, view.verdict_age_s)]
        else:
            parts.append(Text("No verdict yet: the canary has had no traffic to judge.", style="dim"))
        if last := describe(rollout):
            parts.append(Text(plain(f"Last: {last}"), style="dim"))
    return Panel(Group(*parts), title=Text(title, style="bold"), title_align="left")


def _versions(view: View) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    rollout = view.rollout if view.rollout and view.rollout.ended_at is None else None
    roles = {rollout.stable: "stable", rollout.canary: "canary"} if rollout else {}
    table.add_column("version")
    for name in ("share", "requests/s", "errors", "p95"):
        table.add_column(name, justify="right")
    table.add_column("servers", ratio=1)
    for one in view.traffic:
        p95 = "" if one.p95_ms is None else f"{one.p95_ms:.1f} ms"
        table.add_row(
            f"{one.version} {roles.get(one.version, '')}",
            f"{100 * one.share:.4g} %",
            f"{one.requests / RECENT_S:.1f}",
            Text(str(one.errors), style="red" if one.errors else ""),
            p95,
            ", ".join(one.states) or "no server reports it",
        )
    return table


def _gates(findings: tuple[Finding, ...]) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    for name, width in (("gate", 8), ("harm", BAR + 2), ("no harm", BAR + 2)):
        table.add_column(name, width=width)
    table.add_column("observed, and what is still needed", ratio=1)
    for one in findings:
        needs = f"; needs about {one.needs:,} more" if one.needs else ""
        style = "bold red" if one.is_against else "green" if one.is_in_favour else ""
        table.add_row(
            Text(one.gate, style=style),
            _bar(one.log_harm / one.log_harm_needed, "red"),
            _bar(one.log_fine / one.log_fine_needed, "green"),
            one.observed + needs,
        )
    return table


def _bar(share: float, colour: str) -> Text:
    """Draw how far the evidence has come towards a decision, in logarithms."""
    full = round(BAR * min(1.0, max(0.0, share)))
    return Text("█" * full, style=colour) + Text("·" * (BAR - full), style="dim") + Text("!" if share >= 1 else "")


def _verdict_line(verdict: Verdict, age_s: float) -> Text:
    style = {"roll back": "bold red", "promote": "bold green", "keep watching": ""}[verdict.outcome]
    return Text(f"{max(0.0, age_s):.0f} s ago: ", style="dim") + Text(plain(verdict.reason), style=style)

"""What happened in the simulated year, as database and ledger tell it, and whether that is what was to happen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from archives.registry import Registry
from demo.year_plan import BAD, Plan, iso_week, monday
from demo.year_worker import FAMILY, MODEL
from marina.database.connection import Database
from marina.database.loop_tables import TRAININGS
from marina.database.raw_tables import BAD_ROWS, RAW_BATCHES, RAW_RELEASES, RAW_ROWS
from marina.database.tables import ALERT_ACTIONS, ROLLOUTS
from marina.pipelines import alpha_spending, looks
from marina.releases import ledger
from marina.rollout import rollouts

WEEK_S = 7 * 86_400.0


@dataclass(frozen=True)
class Check:
    """One thing that was to be so, whether it is, and what was found."""

    what: str
    holds: bool
    found: str


def story(plan: Plan, database: Database) -> Iterator[tuple[str, ...]]:
    """Return a row for each training, by week: what was loaded, why it was trained, what was decided, what is live."""
    decided = {one["version"]: one for _, one in _entries(database, looks.DECISION)}
    with database.reading() as connection:
        releases = {row.week: json.loads(row.report) for row in connection.execute(sa.select(RAW_RELEASES))}
        trained = _trainings(connection)
    live = "none"
    for week in range(plan.weeks):
        report = releases.get(iso_week(week), {"rows": 0, "visible": 0, "shifts": {}})
        head = (
            iso_week(week),
            plan.event(week),
            f"+{report['rows']}",
            str(report["visible"]),
            ", ".join(report["shifts"]).replace("catalog.", ""),
        )
        for row in _within(trained, week):
            one = decided.get(row.version, {})
            live = row.version if one.get("begun") else live
            f1 = json.loads(row.result)["trained"][0]["metrics"]["weighted_f1"]
            compared = (f"{one['level']:.2g}", f"{one['p']:.2g}") if "p" in one else ("", "")
            yield (*head, row.reason, row.version, f"{f1:.3f}", *compared, one.get("outcome", "none"), live)
            head = ("", "", "", "", "")


def audit(plan: Plan, database: Database, registry: Registry) -> Iterator[Check]:
    """Check the year."""
    yield from _loads(plan, database)
    yield from _trained(plan, database, registry)
    yield from _decided(database)
    with database.reading() as connection:
        faults = ledger.verify(connection)
        count = sum(1 for _ in ledger.entries(connection, MODEL))
    yield Check("the ledger verifies", not faults, f"{count} rows" if not faults else str(faults[0]))


def _loads(plan: Plan, database: Database) -> Iterator[Check]:
    with database.reading() as connection:
        releases = connection.execute(sa.select(RAW_RELEASES).order_by(RAW_RELEASES.c.week)).all()
        rows = connection.execute(sa.select(RAW_ROWS.c.content, RAW_ROWS.c.week)).all()
        batches = connection.execute(sa.select(RAW_BATCHES)).all()
        bad = connection.execute(sa.select(BAD_ROWS.c.source, BAD_ROWS.c.row, BAD_ROWS.c.reason)).all()
    visible = [row.visible for row in releases]
    yield Check("each week 3 % more rows are visible", visible == list(plan.visible), f"{visible[0]} to {visible[-1]}")
    once = len(rows) == len({row.content for row in rows}) == sum(one.added for one in batches)
    shown = sum(row.week != "" for row in rows) == visible[-1] == sum(row.rows for row in releases)
    yield Check("no row is there twice, and each was loaded once", once and shown, f"{len(rows)} rows")
    apart = {(one.source, one.row) for one in bad}
    kept = apart == {(plan.file(plan.week_of("bad rows")).name, row) for _, row in apart} and len(apart) == BAD
    yield Check("bad rows are kept apart, with reasons", kept and all(one.reason for one in bad), f"{len(apart)} rows")
    whole = all(one.rows == one.added + one.repeated + one.bad for one in batches)
    week = plan.week_of("duplicates")
    again = {one.source: one.repeated for one in batches if one.repeated}
    expected = plan.visible[week - 1] - plan.visible[week - 2] if week > 1 else again.get(plan.file(week).name, 0)
    same = again == {plan.file(week).name: expected}
    yield Check("duplicates add nothing, and every row of a file is accounted for", whole and same, str(again))
    report = json.loads(releases[plan.week_of("drift")].report)
    yield Check("the drift is in its week's report", "catalog.description" in report["shifts"], str(report["shifts"]))


def _trained(plan: Plan, database: Database, registry: Registry) -> Iterator[Check]:
    with database.reading() as connection:
        rows = _trainings(connection)
        decided = connection.execute(
            sa.select(ALERT_ACTIONS.c.time).where(ALERT_ACTIONS.c.action == "retrain")
        ).scalar()
    drift = [row for row in rows if row.reason == "drift"]
    each = [sum(row.reason == "data" for row in _within(rows, week)) for week in range(plan.weeks)]
    done = all(row.state == "done" for row in rows) and each == [1] * plan.weeks
    yield Check("new data is a training each week", done, f"{sum(each)} trainings")
    after = len(drift) == 1 and decided is not None and drift[0].started_at > decided
    yield Check("an alarm trains when a person has decided so, and once", after, f"{len(drift)} training")
    lost = [row.version for row in rows if row.attempts != 1]
    mine = [row.version for row in _within(rows, plan.week_of("lost machine"))]
    yield Check("the training that was cut off went on as the same version", lost == mine, ", ".join(lost) or "none")
    versions = [f"{number + 1}.0" for number in range(len(rows))]
    found = [row.version for row in rows]
    entered = [one for one in versions if registry.find(MODEL, one)]
    newest = registry.newest(MODEL)
    same = found == versions == entered and newest is not None and newest.number == str(len(versions))
    yield Check("each training is one version in the registry", same, f"{len(entered)} versions")


def _decided(database: Database) -> Iterator[Check]:
    decisions, looked = _entries(database, looks.DECISION), _entries(database, looks.LOOK)
    outcomes = [one["outcome"] for _, one in decisions]
    counts = {name: outcomes.count(name) for name in ("promote", "keep", "inconclusive")}
    with database.reading() as connection:
        versions = [row.version for row in _trainings(connection)]
        begun = connection.execute(sa.select(ROLLOUTS.c.canary, ROLLOUTS.c.phase).order_by(ROLLOUTS.c.id)).all()
        live = rollouts.stable_of(connection, MODEL)
    every = [one["version"] for _, one in decisions] == versions
    right = all(one["outcome"] == _expected(one) for _, one in decisions)
    yield Check("each version is decided once, as its figures say", every and right, str(counts))
    levels = [alpha_spending.level(one["look"]) for _, one in looked]
    numbered = [one["look"] for _, one in looked] == list(range(1, len(looked) + 1))
    same = numbered and all(one["level"] == alpha_spending.level(one["look"]) for _, one in decisions if one["look"])
    yield Check("looks spend 5 % at most", same and sum(levels) <= 0.05, f"{len(looked)} looks, {sum(levels):.4f}")
    promoted = [one["version"] for _, one in decisions if one["outcome"] == "promote"]
    released = [row.canary for row in begun if row.phase == "done"] == promoted[1:] and len(begun) == len(promoted) - 1
    yield Check("only what was promoted was rolled out", released, f"{len(begun)} rollouts")
    yield Check("what was promoted last is live", promoted[-1:] == [live], live)


def _expected(one: dict[str, Any]) -> str:
    """Return what follows from the figures of a decision (docs/DECISIONS.md), computed again."""
    if one["value"] <= one["bound"]:
        return "keep"
    if one["champion"] is None:
        return "promote"
    if "p" not in one:  # nothing compared them
        return "inconclusive"
    if one["refused"] > one["champion_refused"] or one.get("behind") or one["gain"] <= 0:
        return "keep"
    return "promote" if one["p"] <= one["level"] else "inconclusive"


def _entries(database: Database, action: str) -> list[tuple[float, dict[str, Any]]]:
    with database.reading() as connection:
        found = [one for one in ledger.entries(connection, MODEL) if one.action == action]
    return [(one.time, json.loads(one.details)) for one in found]


def _trainings(connection: sa.Connection) -> list[Any]:
    chosen = sa.select(TRAININGS).where(TRAININGS.c.family == FAMILY)
    return list(connection.execute(chosen.order_by(TRAININGS.c.started_at)))


def _within(rows: list[Any], week: int) -> list[Any]:
    return [row for row in rows if monday(week) <= row.started_at < monday(week) + WEEK_S]

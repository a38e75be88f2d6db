"""What people are asked to look at: reported transactions (anomaly review), uncertain answers (annotation)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from marina.database.tables import DECLARATIONS, INPUTS, LABEL_SETS, LABELS, LEDGER, PREDICTIONS, TRUTHS

SOURCE = "feedback-console:"
"""How sources of the console's labels begin: they are trusted as those with a token are."""

AGAIN = "label again"
"""The ledger's word for the second label of an answer that two people are asked about."""

ASKED_TWICE = 10
"""Of so many answers one is asked twice."""

LOOKED_AT, SHOWN = 2_000, 10
DAYS_S = 14 * 86_400.0
CHOICES = 9
LARGEST_BODY = 4 * 1024 * 1024


@dataclass(frozen=True)
class Item:
    """What one is asked about.

    Attributes
    ----------
    row
        Of an anomaly: which transaction; else -1.
    said
        What the model answered, as text.
    reasons
        Why it is here.
    choices
        What can be said about it, the likeliest first.
    uncertainty
        1 minus the margin between the two likeliest labels, or the score of an anomaly.
    """

    model: str
    version: str
    request_id: str
    instance: int
    time: float
    said: str
    reasons: Sequence[str]
    choices: Sequence[str]
    uncertainty: float
    row: int = -1
    shown: Mapping[str, Any] = field(default_factory=dict)
    second: bool = False

    @property
    def key(self) -> str:
        """What distinguishes it from others, for addresses and forms."""
        return f"{self.request_id}~{self.instance}~{self.row}"


def models_of(connection: sa.Connection, truth: str) -> list[str]:
    """Return the declared models whose truths are of a kind (`models.quality.kinds.Kind`)."""
    same = (LABEL_SETS.c.model == DECLARATIONS.c.model) & (LABEL_SETS.c.version == DECLARATIONS.c.version)
    kinds = (truth, "") if truth == "label" else (truth,)
    chosen = sa.select(DECLARATIONS.c.model).join(LABEL_SETS, same).where(LABEL_SETS.c.truth.in_(kinds))
    chosen = chosen.where(LABEL_SETS.c.labels != "[]") if truth == "label" else chosen
    return list(connection.execute(chosen.distinct().order_by(DECLARATIONS.c.model)).scalars())


def anomalies(connection: sa.Connection, models: Sequence[str], now: float) -> list[Item]:
    """Return reported transactions that no one has judged, the newest requests first."""
    found: list[Item] = []
    for row in _latest(connection, models, now, TRUTHS.c.truth):
        judged = json.loads(row.truth) if row.truth else {}
        answer = json.loads(row.answer)
        rows = answer.get("transactions", []) if isinstance(answer, dict) else []
        waiting = [
            (at, one)
            for at, one in enumerate(rows)
            if isinstance(one, dict) and one.get("verdict") not in (None, "normal") and str(at) not in judged
        ]
        sent = _input(connection, row) if waiting else {}
        listed = sent.get("transactions") if isinstance(sent.get("transactions"), list) else []
        for at, one in waiting:
            shown = listed[at] if listed and at < len(listed) and isinstance(listed[at], dict) else {}
            found.append(
                Item(
                    row.model, row.version, row.request_id, row.instance, row.time, str(one["verdict"]),
                    [_reason(why) for why in one.get("reasons", []) if isinstance(why, dict)],
                    ("anomalous", "normal"), float(one.get("score") or 0.0), at,
                    {name: str(shown[name])[:200] for name in ("label", "amount", "date") if name in shown},
                )
            )  # fmt: skip
        if len(found) >= SHOWN:
            break
    return found[:SHOWN]


def uncertain(connection: sa.Connection, model: str, who: str, now: float) -> list[Item]:
    """Return the answers of which a model is least certain and that no one has labelled.

    One in `ASKED_TWICE` that someone else labelled here is among them, so that agreement is known.
    """
    classes = _classes(connection, model)
    items = []
    asked = _asked_again(connection, model)
    for row in _latest(connection, [model], now, LABELS.c.label, LABELS.c.source):
        second = False
        if row.label is not None:
            others = str(row.source).startswith(SOURCE) and row.source != SOURCE + who
            second = others and (row.request_id, row.instance) not in asked and is_asked_twice(row.request_id)
            if not second:
                continue
        likely = [
            (str(one["label"]), float(one.get("probability") or 0.0))
            for one in _answers(row.answer)
            if isinstance(one, dict) and isinstance(one.get("label"), str)
        ]
        if not likely:
            continue
        margin = likely[0][1] - likely[1][1] if len(likely) > 1 else likely[0][1]
        names = [name for name, _ in likely]
        choices = [*names, *(one for one in classes if one not in names)][:CHOICES]
        said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in likely[:3])
        items.append(
            Item(
                row.model, row.version, row.request_id, row.instance, row.time, "" if second else said,
                [f"margin {100 * margin:.1f} %"], sorted(choices) if second else choices, 1 - margin, second=second,
            )
        )  # fmt: skip
    items.sort(key=lambda one: (not one.second, -one.uncertainty))
    return items[:SHOWN]


def agreement(connection: sa.Connection, model: str) -> tuple[int, int]:
    """Return how many answers were labelled by two people, and how often they agreed."""
    said = [json.loads(details) for details in _again(connection, model)]
    return len(said), sum(one.get("outcome") == "duplicate" for one in said)


def is_asked_twice(request_id: str) -> bool:
    """Return whether two people are asked about a request: chosen by its hash."""
    return int(hashlib.sha256(request_id.encode()).hexdigest()[:8], 16) % ASKED_TWICE == 0


def read_input(connection: sa.Connection, item: Item) -> tuple[str, bytes] | None:
    """Return the content type and the body of the request, where it was kept."""
    mine = (INPUTS.c.request_id == item.request_id, INPUTS.c.model == item.model, INPUTS.c.version == item.version)
    row = connection.execute(sa.select(INPUTS.c.content_type, INPUTS.c.body).where(*mine)).first()
    return None if row is None or len(row.body) > LARGEST_BODY else (row.content_type, bytes(row.body))


def _latest(
    connection: sa.Connection, models: Sequence[str], now: float, *columns: sa.ColumnElement[Any]
) -> Sequence[sa.Row[Any]]:
    table = columns[0].table if isinstance(columns[0], sa.Column) else LABELS
    given = PREDICTIONS.c
    joined = (table.c.request_id == given.request_id) & (table.c.instance == given.instance)
    live = sa.select(DECLARATIONS.c.version).where(DECLARATIONS.c.model == given.model, DECLARATIONS.c.weight > 0)
    names = (given.model, given.version, given.request_id, given.instance, given.time, given.answer)
    chosen = sa.select(*names, *columns).select_from(PREDICTIONS.outerjoin(table, joined))
    chosen = chosen.where(given.model.in_(models), given.version.in_(live), given.time >= now - DAYS_S)
    return connection.execute(chosen.order_by(given.time.desc()).limit(LOOKED_AT)).all()


def _input(connection: sa.Connection, row: sa.Row[Any]) -> Mapping[str, Any]:
    item = Item(row.model, row.version, row.request_id, row.instance, row.time, "", (), (), 0.0)
    found = read_input(connection, item)
    if found is None:
        return {}
    try:
        body = json.loads(found[1])
    except ValueError:
        return {}
    if isinstance(body, dict) and isinstance(body.get("instances"), list) and row.instance < len(body["instances"]):
        body = body["instances"][row.instance]
    return body if isinstance(body, dict) else {}


def _classes(connection: sa.Connection, model: str) -> list[str]:
    row = connection.execute(sa.select(LABEL_SETS.c.labels).where(LABEL_SETS.c.model == model).limit(1)).scalar()
    return [str(one) for one in json.loads(row)] if row else []


def _answers(text: str) -> list[Any]:
    said = json.loads(text)
    return said if isinstance(said, list) else [said]


def _reason(why: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in why.items() if name not in ("kind", "part", "original"))
    original = why.get("original")
    if isinstance(original, dict):
        facts += f"; {original.get('label')} {original.get('amount')} {original.get('date')}"
    return f"{why.get('kind')}" + (f": {facts}" if facts else "")


def _again(connection: sa.Connection, model: str) -> list[str]:
    chosen = sa.select(LEDGER.c.details).where(LEDGER.c.model == model, LEDGER.c.action == AGAIN)
    return list(connection.execute(chosen.order_by(LEDGER.c.seq.desc()).limit(LOOKED_AT)).scalars())


def _asked_again(connection: sa.Connection, model: str) -> set[tuple[str, int]]:
    return {(str(said["request_id"]), int(said["instance"])) for said in map(json.loads, _again(connection, model))}

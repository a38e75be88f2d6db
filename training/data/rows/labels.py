"""Labels that people sent, joined with the requests they are about: rows to train on, as those of a file are.

Only requests whose input was kept can be joined (MARINA_LOG_INPUT_SHARE, for MARINA_INPUT_RETENTION_DAYS). They go
through the family's own reader and schema: what lacks a column, such as one that was redacted, is a bad row.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import INPUTS, LABELS
from marina.events.sources import trusted
from training.data.reading.style import Style
from training.data.rows.importer import Imported, import_path
from training.data.rows.source import source as source_of

JSON: Final = "application/json"


def import_labels(
    database: Database, family: str, now: float | None = None, trusted_only: bool = False
) -> list[Imported]:
    """Import the labelled requests of a family's models: each once, however often it is asked for.

    Parameters
    ----------
    database
        With its tables.
    family
        Whose rows they are.
    now
        Seconds since 1970; None: now.
    trusted_only
        Whether only labels of trusted sources count, as they do where some have tokens for labels.

    Returns
    -------
    list of Imported
        One of each model that has any.

    Raises
    ------
    training.data.rows.source.UnknownSourceError
        If the family keeps no rows.
    """
    done: list[Imported] = []
    with tempfile.TemporaryDirectory(prefix="marina-labels-") as folder:
        for model, columns in source_of(family).labelled.items():
            rows = _labelled(database, model, columns, trusted_only)
            if not rows:
                continue
            file = Path(folder) / f"labels of {model}.csv"
            with file.open("w", encoding="utf-8", newline="") as opened:
                writer = csv.DictWriter(opened, list(columns.values()))
                writer.writeheader()
                writer.writerows(rows)
            done += import_path(database, family, file, Style(decimal="."), now)
    return done


def _labelled(database: Database, model: str, columns: Mapping[str, str], trusted_only: bool) -> list[dict[str, Any]]:
    """Return the labelled instances of a model, in the order of their labels; each once, whichever versions had it."""
    same = sa.and_(INPUTS.c.request_id == LABELS.c.request_id, INPUTS.c.model == model)
    label, given = LABELS.c, INPUTS.c
    said = (label.request_id, label.instance, label.label, label.source, given.content_type, given.body)
    chosen = sa.select(*said).select_from(sa.join(LABELS, INPUTS, same)).order_by(LABELS.c.time, *said[:2])
    found: dict[tuple[str, int], dict[str, Any]] = {}
    with database.reading() as connection:
        for row in connection.execute(chosen):
            if trusted_only and not trusted(row.source):
                continue
            fields = {**_instance(row.content_type, row.body, row.instance), "": row.label}
            found[row.request_id, row.instance] = {column: fields.get(name) for name, column in columns.items()}
    return list(found.values())


def _instance(content_type: str, body: bytes, instance: int) -> dict[str, Any]:
    """Return one instance's fields; none where the body is not what it was, which its row then shows."""
    try:
        sent = json.loads(body) if content_type.split(";", maxsplit=1)[0].strip() == JSON else None
    except ValueError:
        return {}
    if isinstance(sent, dict) and isinstance(many := sent.get("instances"), list):
        sent = many[instance] if instance < len(many) else None
    return sent if isinstance(sent, dict) else {}

"""The offline store: a table to which rows are only ever added, and what was known of an entity at any moment.

A row counts from when it was **known**, unless a reader says as known when; a correction is a later row of the same
event. No row is known before its event.
"""

import itertools
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from marina.database.connection import AWAY, Database
from marina.database.feature_tables import FEATURE_OUTBOX, FEATURE_ROWS
from marina.features.as_of import Ints, as_of
from marina.features.errors import FeatureStoreAwayError, FeatureStoreError
from marina.features.vectors import Micros, pack
from marina.features.views import HEAD, View

CHUNK = 1000
"""Entities whose newest vectors are looked for at a time."""

HISTORIES = 10_000
"""Entities all of whose vectors are looked at at a time."""

_ROWS = FEATURE_ROWS.c

_NEWEST = """
SELECT (SELECT data FROM feature_rows WHERE view = :view AND schema = :schema AND entity = asked.value
        ORDER BY event DESC, known DESC LIMIT 1)
FROM {asked} ORDER BY asked.place"""

_ASKED = {
    "sqlite": "(SELECT value, key AS place FROM json_each(:entities)) AS asked",
    "postgresql": "unnest(CAST(:entities AS text[])) WITH ORDINALITY AS asked(value, place)",
}


class OfflineStore:
    """Everything that was ever written.

    Parameters
    ----------
    database
        With its tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self, view: View, entities: Sequence[str], events: Micros, values: npt.NDArray[np.float64],
        given: int | None, outbox: bool,
    ) -> tuple[list[bytes], int, str]:  # fmt: skip
        """Add rows; one whose values are known already is not added again.

        Parameters
        ----------
        given
            Microseconds since 1970 when all of it was known. None: now; a correction within the same microsecond comes
            after.
        outbox
            Whether to note that these entities have to reach the online store.

        Returns
        -------
        packed, added, note
            Each row's bytes as they are in the table, how many are new, and the id of the note.

        Raises
        ------
        FeatureStoreError
            When two rows say different things of one entity, event time and known time; then none is added.
        FeatureStoreAwayError
            When the database does not answer.
        """
        note = uuid.uuid4().hex
        keys = list(zip(entities, events.tolist(), strict=True))
        try:
            with self._database.writing() as connection:
                if connection.dialect.name == "postgresql":  # one writer at a time, as SQLite has it anyway
                    turn = sa.text("SELECT pg_advisory_xact_lock(727465, hashtext(:view))")
                    connection.execute(turn, {"view": view.name})
                # in turn: who reads later sees all that is known earlier
                known = given or max(time.time_ns() // 1000, int(events.max(initial=0)))
                packed = pack(view, values, events, known)
                there = self._history_of(connection, view, set(keys))
                new = []
                for place, key in enumerate(keys):
                    packed[place], is_new = _settle(view, key, packed[place], there[key], known, given is not None)
                    if is_new:
                        event, moment = HEAD.unpack_from(packed[place])[1:]
                        there[key].append((moment, packed[place]))
                        new.append((view.name, view.schema, key[0], event, moment, packed[place]))
                self._database.add_rows(connection, FEATURE_ROWS, new)
                if outbox:
                    row = {"id": note, "view": view.name, "schema": view.schema, "written_at": time.time()}
                    whose = json.dumps(sorted(set(entities)))
                    connection.execute(sa.insert(FEATURE_OUTBOX), {**row, "entities": whose})
        except AWAY as error:
            raise _away(error) from error
        return packed, len(new), note

    def newest(self, view: View, entities: Sequence[str]) -> list[bytes | None]:
        """Return each entity's newest row, None where there is none.

        Raises
        ------
        FeatureStoreAwayError
            When the database does not answer.
        """
        found: list[bytes | None] = []
        try:
            with self._database.reading() as connection:
                asked = _ASKED[connection.dialect.name]
                for start in range(0, len(entities), CHUNK):
                    part = list(entities[start : start + CHUNK])
                    given = {"view": view.name, "schema": view.schema, "entities": _listed(connection, part)}
                    rows = connection.execute(sa.text(_NEWEST.format(asked=asked)), given)
                    found += [None if row[0] is None else bytes(row[0]) for row in rows]
        except AWAY as error:
            raise _away(error) from error
        return found

    def as_of(self, view: View, entities: Sequence[str], at: Micros, as_known_at: int | None) -> list[bytes | None]:
        """Return for each entity and moment the newest row by event time that was known by then.

        Parameters
        ----------
        entities, at
            N each, in any order, microseconds since 1970.
        as_known_at
            Use what was known at this moment for all of them, in place of their own.

        Raises
        ------
        FeatureStoreAwayError
            When the database does not answer.
        """
        code_of = {name: code for code, name in enumerate(dict.fromkeys(entities))}
        names, codes = list(code_of), np.fromiter((code_of[entity] for entity in entities), np.int64, len(entities))
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(0, len(names) + HISTORIES, HISTORIES))
        answers = np.full(len(at), None, dtype=object)
        latest = int(at.max()) if as_known_at is None and len(at) else as_known_at
        try:
            with self._database.reading() as connection:
                for part, (first, end) in enumerate(itertools.pairwise(starts)):
                    base = part * HISTORIES
                    data, entity = self._rows_of(connection, view, names[base : base + HISTORIES], latest)
                    asking = order[first:end]
                    heads = np.frombuffer(b"".join(data), view.dtype)
                    places = as_of(
                        entity, heads["event"].astype(np.int64), heads["known"].astype(np.int64),
                        codes[asking] - base, at[asking], as_known_at is None,
                    )  # fmt: skip
                    there = places >= 0
                    if there.any():
                        answers[asking[there]] = np.array(data, dtype=object)[places[there]]
        except AWAY as error:
            raise _away(error) from error
        return answers.tolist()

    def entities(self, view: View) -> list[str]:
        """Return every entity of a view."""
        chosen = sa.select(_ROWS.entity).where(_ROWS.view == view.name, _ROWS.schema == view.schema).distinct()
        try:
            with self._database.reading() as connection:
                return list(connection.scalars(chosen))
        except AWAY as error:
            raise _away(error) from error

    def waiting(self, view: View, before: float) -> list[tuple[str, list[str]]]:
        """Return the notes of what has not reached the online store: id and entities, oldest first."""
        table = FEATURE_OUTBOX.c
        mine = sa.and_(table.view == view.name, table.schema == view.schema, table.written_at < before)
        try:
            with self._database.reading() as connection:
                found = connection.execute(
                    sa.select(table.id, table.entities).where(mine).order_by(table.written_at)
                ).all()
        except AWAY as error:
            raise _away(error) from error
        return [(row.id, json.loads(row.entities)) for row in found]

    def forget_waiting(self, notes: Sequence[str]) -> None:
        """Delete notes: what they name has arrived."""
        try:
            with self._database.writing() as connection:
                connection.execute(sa.delete(FEATURE_OUTBOX).where(FEATURE_OUTBOX.c.id.in_(notes)))
        except AWAY as error:
            raise _away(error) from error

    def _history_of(
        self, connection: sa.Connection, view: View, keys: set[tuple[str, int]]
    ) -> defaultdict[tuple[str, int], list[tuple[int, bytes]]]:
        there: defaultdict[tuple[str, int], list[tuple[int, bytes]]] = defaultdict(list)
        chosen = sa.select(_ROWS.entity, _ROWS.event, _ROWS.known, _ROWS.data).where(
            _ROWS.view == view.name, _ROWS.schema == view.schema, sa.tuple_(_ROWS.entity, _ROWS.event).in_(list(keys))
        )
        for row in connection.execute(chosen.order_by(_ROWS.known)):
            there[row.entity, row.event].append((row.known, bytes(row.data)))
        return there

    def _rows_of(
        self, connection: sa.Connection, view: View, names: list[str], latest: int | None
    ) -> tuple[list[bytes], Ints]:
        """Return the rows of some entities known by a moment, and which of the entities each is of."""
        data: list[bytes] = []
        codes: list[int] = []
        code_of = {name: code for code, name in enumerate(names)}
        for row in self._read(connection, view, names, latest):
            codes.append(code_of[row[0]])
            data.append(row[1])
        return data, np.array(codes, np.int64)

    @staticmethod
    def _read(connection: sa.Connection, view: View, names: list[str], latest: int | None) -> Iterator[Any]:
        asked = _ASKED[connection.dialect.name]
        text = (
            f"SELECT entity, data FROM feature_rows WHERE view = :view AND schema = :schema "
            f"AND entity IN (SELECT value FROM {asked}) AND known <= :latest"
        )
        given = {"view": view.name, "schema": view.schema, "entities": _listed(connection, names), "latest": latest}
        return iter(connection.execute(sa.text(text), given))


def _settle(
    view: View, key: tuple[str, int], packed: bytes, there: list[tuple[int, bytes]], known: int, given: bool
) -> tuple[bytes, bool]:
    """Return the bytes that stand for a row, and whether they are new."""
    before = [(moment, other) for moment, other in there if moment <= known or not given]
    if not before:
        return packed, True
    moment, other = max(before)
    if other[HEAD.size :] == packed[HEAD.size :]:
        return other, False
    if moment < known:
        return packed, True
    if given:
        raise FeatureStoreError(
            f"{view.name} of {key[0]!r}: two different vectors of event time {key[1] / 1e6} are given as known at "
            f"{known / 1e6}. Give a correction a later known time; nothing was written"
        )
    return HEAD.pack(view.schema_id, key[1], moment + 1) + packed[HEAD.size :], True


def _listed(connection: sa.Connection, names: list[str]) -> Any:
    return names if connection.dialect.name == "postgresql" else json.dumps(names)


def _away(error: Exception) -> FeatureStoreAwayError:
    return FeatureStoreAwayError(
        f"The database of the feature store (MARINA_DATABASE_URL) does not answer: {str(error).splitlines()[0]}. "
        "It is asked again with the next request"
    )

"""Which labels are classes of the version that answered, and what was probably meant by one that is none."""

import functools
import json
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from rapidfuzz import fuzz, process

from marina.database.key_lookup import Key, rows
from marina.database.tables import DECLARATIONS, LABEL_SETS, PREDICTIONS
from models.quality.kinds import KINDS, Kind

Version = tuple[str, str]
"""A model and its version."""

ALIKE = 60.0
"""Of 100: classes less alike than this are not suggested."""

MOST_NAMED = 8
"""Classes that are named as examples of what is expected."""


@dataclass(frozen=True)
class KnownClasses:
    """Classes by version, as far as they are known.

    Attributes
    ----------
    of
        Of versions that answered, and of others of their models that are declared.
    declared
        Which of these are declared now: they are compared with each other, so their classes are the model's.
    kinds
        Kinds of truth by version, as far as they are known.
    """

    of: Mapping[Version, frozenset[str]] = field(default_factory=dict)
    declared: frozenset[Version] = frozenset()
    kinds: Mapping[Version, Kind] = field(default_factory=dict)

    def accepts(self, answered: Iterable[Version], label: str) -> bool:
        """Return whether a label may be the true one of an answer of one of these versions.

        It may where the version has no classes, or they are not known; where it is one of them; or one of another
        version of the model that is declared now: that the version which answered lacks it makes its answer wrong.
        Where truths of the version's answers are of another kind none is.
        """
        return any(
            not (own := self.of.get(one)) or label in own or label in self.of_model(one)
            for one in answered
            if self.kind(one) in (None, "label")
        )

    def kind(self, answered: Version) -> Kind | None:
        """Return the kind of truth of a version's answers; None where it is not known."""
        return self.kinds.get(answered)

    def of_model(self, answered: Version) -> frozenset[str]:
        """Return the classes that labels of a version's answers may have."""
        others = [self.of[one] for one in self.declared if one[0] == answered[0]]
        return frozenset().union(self.of.get(answered, ()), *others)


def read_known_classes(connection: sa.Connection, answered: Collection[Version]) -> KnownClasses:
    """Read the classes of versions that answered, and of the declared ones of their models."""
    if not answered:
        return KnownClasses()
    there = (DECLARATIONS.c.model == LABEL_SETS.c.model) & (DECLARATIONS.c.version == LABEL_SETS.c.version)
    models = {model for model, _ in answered}
    wanted = (
        sa.select(LABEL_SETS, DECLARATIONS.c.version.label("declared"))
        .select_from(LABEL_SETS.outerjoin(DECLARATIONS, there))
        .where(LABEL_SETS.c.model.in_(models))
        .where(
            DECLARATIONS.c.version.is_not(None)
            | sa.tuple_(LABEL_SETS.c.model, LABEL_SETS.c.version).in_(sorted(answered))
        )
    )
    found = connection.execute(wanted).all()
    return KnownClasses(
        {(row.model, row.version): _parse(row.labels) for row in found},
        frozenset((row.model, row.version) for row in found if row.declared is not None),
        {(row.model, row.version): kind for row in found for kind in KINDS if kind == row.truth},
    )


def read_answered(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, set[Version]]:
    """Return which versions answered each of these instances; those that are not in the log are left out."""
    answered: dict[Key, set[Version]] = {}
    for row in rows(connection, PREDICTIONS, keys, PREDICTIONS.c.model, PREDICTIONS.c.version):
        answered.setdefault((row.request_id, row.instance), set()).add((row.model, row.version))
    return answered


@functools.lru_cache(maxsize=4096)
def find_nearest(label: str, classes: frozenset[str]) -> str | None:
    """Return the class that was probably meant; None where none is like it.

    Parameters
    ----------
    label
        As it was sent.
    classes
        Of the model.

    Returns
    -------
    str or None
        A class that differs by case, blanks, accents or ``.0`` alone; else the most alike of at least `ALIKE`, by the
        normalised indel distance of `rapidfuzz.fuzz.ratio`.
    """
    by_plain, plain = _index(classes), _simplify(label)
    if plain in by_plain:
        return by_plain[plain]
    found = process.extractOne(plain, by_plain.keys(), scorer=fuzz.ratio, score_cutoff=ALIKE)
    return by_plain[found[0]] if found else None


def describe_classes(classes: Collection[str]) -> str:
    """Name a model's classes: all of few, some of many."""
    ordered = sorted(classes)
    if len(ordered) <= MOST_NAMED:
        return ", ".join(map(repr, ordered))
    return f"{len(ordered)} of them, such as " + ", ".join(map(repr, ordered[:MOST_NAMED]))


def _simplify(label: str) -> str:
    """Write a label without what is often added or lost on its way: case, blanks, accents, the ``.0`` of a number."""
    letters = unicodedata.normalize("NFKD", label.strip().casefold())
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    whole, point, rest = plain.partition(".")
    return whole if point and whole.isdecimal() and not rest.strip("0") else plain


@functools.lru_cache(maxsize=64)
def _index(classes: frozenset[str]) -> dict[str, str]:
    """Return classes by how they are simplified; of two that then look alike the first in order."""
    return {_simplify(one): one for one in sorted(classes, reverse=True)}


@functools.lru_cache(maxsize=64)
def _parse(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))

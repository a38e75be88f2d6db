"""The views: which features are kept together, of what kind of thing, and for how long they count.

To change a view, change its names here. Its schema id changes with them, so that rows of the old and the new kind never
meet in any store; write the new rows, and old readers keep finding the old ones until they are started again.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from marina.features.errors import FeatureStoreError
from models.budget import household
from models.code_health.features import FEATURES as CODE_FEATURES
from models.market.features import CONTEXT, NAMES

HOUR_S, DAY_S = 3600.0, 86_400.0

KEPT: Final = 2
"""After this many times its TTL a vector counts as missing, no longer as stale."""

PREFIX: Final = "fs:"
"""How every key in Redis begins."""

HEAD: Final = struct.Struct(">4sqq")
"""Schema id, event time and known time (microseconds since 1970): how a packed vector begins."""


@dataclass(frozen=True)
class View:
    """Features that are written, kept and read together.

    Attributes
    ----------
    name
        How it is called in every store and route.
    entity
        What a vector describes.
    features
        Names, in the order of the values.
    groups
        Names of parts of them.
    ttl_s
        Seconds after its event time at which a vector is stale; after `KEPT` times that it is missing.
    """

    name: str
    entity: str
    features: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    ttl_s: float

    @cached_property
    def schema_id(self) -> bytes:
        """Four bytes that stand for the name, the kind of entity, and the features in their order."""
        return hashlib.sha256("\0".join((self.name, self.entity, *self.features)).encode()).digest()[:4]

    @cached_property
    def schema(self) -> str:
        """The same as eight hexadecimal digits."""
        return self.schema_id.hex()

    @cached_property
    def prefix(self) -> str:
        """How the keys of its entities in Redis begin."""
        return f"{PREFIX}{self.name}:{self.schema}:"

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """A packed vector: head, little-endian float32 values, and a bit for each that is present (first: highest)."""
        width = len(self.features)
        return np.dtype(
            [
                ("schema", "S4"),
                ("event", ">i8"),
                ("known", ">i8"),
                ("values", "<f4", (width,)),
                ("present", "u1", ((width + 7) // 8,)),
            ]
        )

    @cached_property
    def _size(self) -> int:
        return self.dtype.itemsize

    @cached_property
    def absent(self) -> bytes:
        """A packed vector that has none of the features."""
        row = np.zeros(1, self.dtype)
        row["schema"], row["values"] = self.schema_id, np.nan
        return row.tobytes()

    def holds(self, packed: bytes | None) -> bool:
        """Return whether these are the bytes of a vector of this view."""
        return packed is not None and len(packed) == self._size and packed.startswith(self.schema_id)

    def positions(self, groups: Iterable[str]) -> list[int]:
        """Return where the features of some groups are, in the view's order.

        Raises
        ------
        FeatureStoreError
            When there is no such group.
        """
        named = list(groups)
        if unknown := sorted(set(named) - set(self.groups)):
            raise FeatureStoreError(
                f"no feature group {', '.join(unknown)} in {self.name}; it has {', '.join(self.groups)}"
            )
        chosen = {feature for group in named for feature in self.groups[group]}
        return [position for position, feature in enumerate(self.features) if feature in chosen]


def _code_group(group: str) -> tuple[str, ...]:
    return tuple(feature.name for feature in CODE_FEATURES if feature.group == group)


_EVERY = (
    View(
        "code_health",
        "repository (ID), or one of its files (ID:path) or commits (ID@hash)",
        tuple(feature.name for feature in CODE_FEATURES),
        {group: _code_group(group) for group in ("git", "code", "temporal")},
        8 * DAY_S,
    ),
    View(
        "market_window",
        "set of assets",
        NAMES,
        {"prices": NAMES[: -len(CONTEXT)], "context": CONTEXT},
        2 * HOUR_S,
    ),
    View("household", "household", household.NAMES, {"profile": household.NAMES}, 40 * DAY_S),
)

VIEWS: Final[Mapping[str, View]] = {view.name: view for view in _EVERY}
"""Every view, by name."""


def views_with(ttl_s: Mapping[str, float]) -> dict[str, View]:
    """Return every view by name, some of them with other TTLs.

    Raises
    ------
    FeatureStoreError
        When a TTL is of no view.
    """
    if unknown := sorted(set(ttl_s) - set(VIEWS)):
        raise FeatureStoreError(
            f"MARINA_ML_FEATURE_TTL_S names no view: {', '.join(unknown)}. Views are {', '.join(VIEWS)}"
        )
    return {name: replace(view, ttl_s=ttl_s.get(name, view.ttl_s)) for name, view in VIEWS.items()}

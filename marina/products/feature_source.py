"""Where the features of a repository come from: the one seam to a feature store."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from marina.features.errors import FeatureStoreAwayError
from marina.products.errors import ProductError


class FeatureSource(Protocol):
    """What knows the features of repositories."""

    async def find(self, repository: str, names: Sequence[str]) -> Mapping[str, float | None] | None:
        """Return a repository's features by name, null where one is missing or too old; None of an unknown one."""


class Vectors(Protocol):
    """Rows of a feature store's answer."""

    def record(self, row: int) -> Mapping[str, Mapping[str, float | str | None]]:
        """Return one row: of each feature its ``value`` and its ``state``: missing, stale or fresh."""


class Store(Protocol):
    """What is asked of a feature store."""

    async def get(self, view: str, entities: Sequence[str]) -> Vectors:
        """Read the newest vectors of some entities."""


class StoreFeatures:
    """Features of repositories from a feature store; what is missing or stale there is missing to the model.

    Parameters
    ----------
    store
        The store.
    view
        Its view of repositories.
    """

    def __init__(self, store: Store, view: str = "code_health") -> None:
        self._store = store
        self._view = view

    async def find(self, repository: str, names: Sequence[str]) -> Mapping[str, float | None] | None:
        """Return a repository's features by name; None where nothing at all is known of it."""
        try:
            row = (await self._store.get(self._view, [repository])).record(0)
        except FeatureStoreAwayError as error:
            raise ProductError(503, "features_away", str(error)) from error
        if all(one["state"] == "missing" for one in row.values()):
            return None
        fresh = {name: one["value"] for name, one in row.items() if one["state"] == "fresh"}
        found: dict[str, float | None] = {}
        for name in names:
            value = fresh.get(name)
            found[name] = float(value) if value is not None else None
        return found

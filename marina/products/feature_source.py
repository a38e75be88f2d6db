"""Where the features of a repository come from: the one seam to a feature store."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class FeatureSource(Protocol):
    """Whoever knows the features of repositories."""

    async def find(self, repository: str, names: Sequence[str]) -> Mapping[str, float | None] | None:
        """Return a repository's features by name, null where one is missing or too old; None of an unknown one."""


class NoFeatures:
    """There is no feature store: no repository is known."""

    async def find(self, repository: str, names: Sequence[str]) -> Mapping[str, float | None] | None:
        """Return nothing."""
        del repository, names
        return None

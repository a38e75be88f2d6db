"""What an online store beside the database is to the feature store."""

from collections.abc import Sequence
from typing import Protocol

from marina.features.views import View


class OnlineStore(Protocol):
    """The newest packed vector of each entity.

    Every method raises `marina.features.errors.OnlineStoreAwayError` when the store does not answer.
    """

    async def fetch(self, view: View, entities: Sequence[str]) -> list[bytes | None] | None:
        """Read entities, in their order; None where the store has not been filled yet."""

    def read(self, view: View, entities: Sequence[str]) -> list[bytes | None] | None:
        """Do as `fetch` does, without an event loop."""

    def put(self, view: View, entities: Sequence[str], packed: Sequence[bytes]) -> int:
        """Write vectors where they are newer; return how many were."""

    def begin_filling(self, view: View) -> str:
        """Say that it is being filled; return what `end_filling` asks for."""

    def end_filling(self, view: View, token: str) -> bool:
        """Say that it is filled; False where it was emptied meanwhile."""

    async def close(self) -> None:
        """Let go of every connection."""

"""The eight flags of the products, what each is where no one has set it, and how they are asked for."""

from collections.abc import Collection
from typing import Final, Protocol

FLAGS: Final = {
    "auto_categorization_rules": True,
    "ml_api_cache": True,
    "ml_categorization": False,
    "anomaly_detection": False,
    "ab_testing": False,
    "budget_predictions": False,
    "smart_recommendations": False,
    "predictive_alerts": False,
}
"""By name, whether it is on."""


class Flags(Protocol):
    """What knows which flags are on."""

    def value(self, name: str, key: str) -> bool:
        """Return whether a flag is on for a key: a user, a session, or nothing."""


class DefaultFlags:
    """The defaults, and what the settings switch on beside them.

    Raises
    ------
    ValueError
        When a name is no flag's.
    """

    def __init__(self, on: Collection[str] = ()) -> None:
        if unknown := sorted(set(on) - set(FLAGS)):
            raise ValueError(f"MARINA_FLAGS_ON: no flag is called {unknown[0]!r}; there are {', '.join(FLAGS)}")
        self._on = {name for name, default in FLAGS.items() if default} | set(on)

    def value(self, name: str, key: str) -> bool:
        """Return whether a flag is on."""
        return name in self._on

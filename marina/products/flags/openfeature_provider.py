"""The flags behind OpenFeature, the interface that everyone but the hot path uses.

    from marina.products.flags.openfeature_provider import connect
    client = connect(flags)
    client.get_boolean_value("ml_categorization", False, EvaluationContext("user-17"))

An evaluation costs some 10 µs; `marina.products.flags.provider.Flags.value` reads the same table in a fraction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import FlagNotFoundError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from marina.products.flags.provider import Flags
from marina.products.flags.table import FlagError

DOMAIN = "marina"
LOGGER = "openfeature"
PAUSE_S = 60.0
"""The library logs a traceback at each evaluation that fails: of the same message one a minute is enough."""


class Throttle(logging.Filter):
    """Lets each message through once in `PAUSE_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a message is to be logged."""
        error = record.exc_info[1] if record.exc_info else None
        key, now = f"{record.msg}|{error!r:.200}", self._clock()
        with self._lock:
            if now - self._last.get(key, -PAUSE_S) < PAUSE_S:
                return False
            if len(self._last) >= 1000:
                self._last.clear()
            self._last[key] = now
            return True


class Provider(AbstractProvider):
    """Resolves boolean flags; the targeting key is the unit. The parameters' names are the interface's."""

    def __init__(self, flags: Flags) -> None:
        super().__init__()
        self._flags = flags
        flags.follow(lambda: self.emit_provider_configuration_changed(ProviderEventDetails(list(flags.names))))

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata("marina")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Return a flag's value for the context's targeting key, with the reason."""
        key = (evaluation_context.targeting_key if evaluation_context else None) or ""
        try:
            found = self._flags.evaluate(flag_key, key)
        except FlagError as error:
            raise FlagNotFoundError(str(error)) from None
        return FlagResolutionDetails(
            found.value,
            reason=Reason(found.reason),
            variant="on" if found.value else "off",
            flag_metadata={"why": found.why},
        )

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Refuse: flags are on or off."""
        _refuse(flag_key)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Refuse: flags are on or off."""
        _refuse(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Refuse: flags are on or off."""
        _refuse(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Refuse: flags are on or off."""
        _refuse(flag_key)


def connect(flags: Flags, domain: str = DOMAIN) -> OpenFeatureClient:
    """Make the flags this process's provider, and return a client of it; its logger is throttled."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(one, Throttle) for one in logger.filters):
        logger.addFilter(Throttle())
    api.set_provider(Provider(flags), domain)
    return api.get_client(domain)


def _refuse(name: str) -> NoReturn:
    raise TypeMismatchError(f"{name} is on or off: ask for a boolean")

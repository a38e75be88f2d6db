"""What this server reports of its versions: to the gateway's /ping, and to the database."""

import time
from collections.abc import Callable, Collection
from typing import Protocol

from marina.serving.version_state import State, Version

START_S = 60.0  # how long a starting server that answers for some models waits for the others before it is healthy


class RouteState(Protocol):
    """What traffic gets, as far as reports go by it."""

    def is_open(self, model: str, version: str) -> bool:
        """Whether traffic gets through to a version."""

    def in_force(self, model: str) -> dict[str, float]:
        """Return the weights by which a model's requests are divided now."""


class ReplicaReport:
    """Describes the versions of one server.

    Parameters
    ----------
    monotonic
        A clock that is never set, in seconds.
    """

    def __init__(self, routes: RouteState, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._routes = routes
        self._monotonic = monotonic
        self._starting = True
        self._answering_since: float | None = None

    def note_start(self) -> None:
        """Note that TorchServe starts, or starts again."""
        self._starting, self._answering_since = True, None

    def list_states(self, versions: Collection[Version]) -> dict[str, dict[str, str]]:
        """Return each desired version's state, by model."""
        states: dict[str, dict[str, str]] = {}
        for version in versions:
            if version.state is not State.DRAINING:
                model, name = version.declared.model, version.declared.version
                closed = version.state is State.READY and not self._routes.is_open(model, name)
                states.setdefault(model, {})[name] = State.LOADING.value if closed else version.state.value
        return states

    def list_answering(self, versions: Collection[Version]) -> dict[str, bool]:
        """Return, for each model, whether it has versions with traffic and every one of them is ready."""
        states = self.list_states(versions)
        weighted = [
            (model, version)
            for model in states
            for version, weight in self._routes.in_force(model).items()
            if weight > 0
        ]
        served = {model for model, _ in weighted}
        not_ready = {model for model, version in weighted if states.get(model, {}).get(version) != State.READY}
        return {model: model in served - not_ready for model in states}

    def check_health(self, versions: Collection[Version]) -> bool:
        """Return whether this server is to be sent requests.

        Some model has to answer, and those that still load must have had their time: after a start, of TorchServe too,
        a server that answers for one of ten models is not complete. One that keeps loading delays that by no more than
        `START_S`, and one that is refused or unhealthy not at all.
        """
        answering, now = self.list_answering(versions), self._monotonic()
        if not any(answering.values()):
            return False
        if self._starting:
            if self._answering_since is None:
                self._answering_since = now
            loading = {
                version.declared.model for version in versions if version.state in (State.WAITING, State.LOADING)
            }
            waiting = any(not answers and model in loading for model, answers in answering.items())
            self._starting = waiting and now - self._answering_since < START_S
        return not self._starting

    def list_rows(self, versions: Collection[Version]) -> list[dict[str, object]]:
        """Return what runs, by the columns of `marina.database.tables.REPLICAS`."""
        return [
            {
                "model": version.declared.model,
                "version": version.declared.version,
                "sha256": version.declared.sha256,
                "state": version.state.value,
                "reason": version.reason,
                "weight": self._routes.in_force(version.declared.model).get(version.declared.version, 0.0),
            }
            for version in versions
        ]

"""The declared versions in one TorchServe: brings the server and its gateway in line with what the database says.

A version walks waiting → loading → ready, or ends as refused. One that is no longer declared is closed, then drained:
requests that were on their way are answered before TorchServe forgets it.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import httpx
import sqlalchemy as sa

from events.database import AWAY, Database
from events.outage import Outage
from events.tables import REPLICAS
from rollout import priority, replicas
from rollout.declaration import Declaration, DeclarationError, Declared
from rollout.fleet import Fleet, FleetError
from rollout.premises import say
from rollout.routes import Routes
from rollout.sample import example
from rollout.torchserve import RunDir
from settings import Settings

REPORT_S = 2.0  # how often, at least, the database is told what runs
AWAY_S = 3.0  # a database that does not answer is left alone for so long
HUNG_S = 30.0
FAILED_EXAMPLES = 3  # times an archive's own example may fail before the version is refused


@dataclass
class Version:
    """What is known about one version."""

    declared: Declared
    state: str = "waiting"  # waiting, loading, ready, refused, draining
    log_start: int = 0  # where the worker log was when it was registered
    whole_at: float = 0.0  # when all of its workers were last ready
    ready_at: float = 0.0  # when at least one was
    proven: bool = False  # it has been ready before: failing to load now is no fault of the archive
    closed_at: float = 0.0  # when its traffic was turned away
    warm_ups: int = 0  # how often its own example was answered
    failed_examples: int = 0
    reason: str = ""


class Versions:
    """Every version of one server."""

    def __init__(
        self, settings: Settings, database: Database, declaration: Declaration, routes: Routes, run_dir: RunDir
    ) -> None:
        self._settings = settings
        self._database = database
        self._declaration = declaration
        self._routes = routes
        self._run_dir = run_dir
        self._versions: dict[tuple[str, str], Version] = {}
        self._declared: list[Declared] = []
        self._weights: dict[tuple[str, str], float] = {}
        self._input_shares: dict[str, float] | None = None
        self._reported: list[dict[str, object]] = []
        self._outage = Outage(say, "what runs goes on")
        self._stale = False
        self._reported_at = self._away_until = 0.0

    def __iter__(self) -> Iterator[Version]:
        return iter(self._versions.values())

    @property
    def loading(self) -> bool:
        """Whether some version is on its way."""
        return any(one.state in ("waiting", "loading", "draining") for one in self)

    @property
    def settled(self) -> bool:
        """Whether every declared version is ready or has refused."""
        return all(one.state in ("ready", "refused", "draining") for one in self)

    @property
    def workers(self) -> int:
        """How many worker processes the versions want."""
        return sum(one.declared.serving.workers for one in self if one.state != "refused")

    def load(self) -> None:
        """Take over what is declared now.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            When the database does not answer.
        """
        with self._database.reading() as connection:
            declared = self._declaration.read(connection)
        if declared == self._declared and not self._stale and not any(one.state == "draining" for one in self):
            return
        wanted = {(one.model, one.version): one for one in declared}
        for key, version in self._versions.items():
            now = wanted.get(key)
            if now is None or now.sha256 != version.declared.sha256:
                self._leave(version)
            else:
                version.declared = dataclasses.replace(version.declared, weight=now.weight, input_share=now.input_share)
                if version.state == "draining":  # declared again before it was gone
                    version.state = "waiting"
        for key, one in wanted.items():
            if key not in self._versions:
                self._versions[key] = self._fetched(one)
                self._routes.declare(one.model, one.version)
        self._declared, self._stale = declared, False
        self._share()

    def lose(self) -> None:
        """Note that TorchServe is gone, and everything in it."""
        self._routes.close_all()
        for one in list(self):
            if one.state == "draining":
                self._forget(one)
            elif one.state != "refused":
                one.state = "waiting"
        self._share()

    def follow(self) -> None:
        """Look at the declaration, and tell the database what runs; a database that is away can wait."""
        now = time.monotonic()
        if now < self._away_until:
            return
        try:
            self.load()
            self._tell_workers()
            self._report(now)
            self._outage.end()
        except AWAY as error:
            self._outage.begin(error)
            self._away_until = now + AWAY_S

    def keep(self, fleet: Fleet, stopping: Callable[[], bool]) -> None:
        """Bring TorchServe one step nearer to what is declared.

        Raises
        ------
        httpx.TransportError
            When TorchServe's management does not answer.
        """
        for one in list(self):
            if stopping():
                return
            try:
                if one.state == "draining":
                    self._drain(fleet, one)
                elif one.state != "refused":
                    self._keep(fleet, one)
            except FleetError as error:
                if one.reason != str(error):
                    one.reason = str(error)
                    say(one.reason)

    def states(self) -> dict[str, dict[str, str]]:
        """Return each declared version's state, by model."""
        states: dict[str, dict[str, str]] = {}
        for one in self:
            if one.state != "draining":
                closed = one.state == "ready" and not self._routes.is_open(one.declared.model, one.declared.version)
                states.setdefault(one.declared.model, {})[one.declared.version] = "loading" if closed else one.state
        return states

    def answering(self) -> bool:
        """Whether there is a version with traffic, and every such version is ready."""
        weighted = [key for key, weight in self._weights.items() if weight > 0]
        states = self.states()
        return bool(weighted) and all(states.get(model, {}).get(version) == "ready" for model, version in weighted)

    def ready(self) -> list[Declared]:
        """Return the versions that are ready."""
        return [one.declared for one in self if one.state == "ready"]

    def _fetched(self, one: Declared) -> Version:
        try:
            return Version(self._declaration.fetch(one))
        except DeclarationError as error:
            say(f"{one} cannot be served: {error}")
            self._routes.declare(one.model, one.version)
            self._routes.refuse(one.model, one.version)
            return Version(one, "refused", reason=str(error))

    def _share(self) -> None:
        models: dict[str, list[Version]] = {one.declared.model: [] for one in self}
        for one in self._declared:
            there = self._versions.get((one.model, one.version))
            if there is not None and there.declared.sha256 == one.sha256:
                models[one.model].append(there)
        self._weights = {}
        for model, versions in models.items():
            sharing = [one for one in versions if one.declared.weight > 0]
            # The version that has most, of equals the oldest, stands in for those that are not ready; none for it.
            if sharing and max(reversed(sharing), key=lambda one: one.declared.weight).state == "ready":
                sharing = [one for one in sharing if one.state == "ready"]
            weights = [(one.declared.version, one.declared.weight) for one in sharing]
            self._routes.share(model, weights)
            self._weights |= {(model, version): weight for version, weight in weights}

    def _tell_workers(self) -> None:
        """Let workers know of which share of the requests inputs are to be logged."""
        shares: dict[str, float] = {}
        for one in self._declared:
            shares[one.model] = max(one.input_share, shares.get(one.model, 0.0))
        if shares != self._input_shares:
            place = self._settings.spool_dir / "input_share.json"
            fresh = place.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk; tried again
                fresh.write_text(json.dumps(shares))
                fresh.replace(place)
                self._input_shares = shares

    def _keep(self, fleet: Fleet, one: Version) -> None:
        declared = one.declared
        if one.state == "waiting":
            one.log_start = fleet.log_end()
            try:
                fleet.register(declared)
            except FleetError as error:
                self._refuse(fleet, one, str(error))
                return
            one.state, one.warm_ups, one.whole_at = "loading", 0, time.monotonic()
        status = fleet.status(declared)
        now = time.monotonic()
        if status.state == "absent":
            self._turn_away(one)
            one.state = "waiting"
        elif status.state == "ready":
            one.ready_at = now
            if status.ready_workers >= status.workers:
                one.whole_at = now
            if one.state == "loading":
                self._warm_up(fleet, one)
            elif _at_its_priority(declared, status.pids):
                self._routes.open(declared.model, declared.version)
            else:
                self._renew(fleet, one)
        elif one.state == "loading":
            if not one.proven and (words := fleet.refusal(declared, one.log_start)) is not None:
                self._refuse(fleet, one, words)
        elif now - one.ready_at > self._settings.request_timeout_s / 2:
            self._turn_away(one)  # better 503 now than 504 later
        # TorchServe stops restarting a worker after a while, and never says so.
        if one.proven and now - one.whole_at > declared.serving.max_retry_timeout_s + HUNG_S:
            say(f"{declared}: TorchServe no longer restarts its workers; giving it new ones")
            fleet.revive(declared)
            one.whole_at = now

    def _renew(self, fleet: Fleet, one: Version) -> None:
        """Give a version new workers, which take no traffic before they are warm."""
        self._turn_away(one)
        fleet.revive(one.declared)

    def _turn_away(self, one: Version) -> None:
        """Let a version have no traffic before it is ready, and warm, again."""
        self._routes.close(one.declared.model, one.declared.version)
        one.state, one.warm_ups = "loading", 0
        self._share()

    def _warm_up(self, fleet: Fleet, one: Version) -> None:
        """Send the archive's own example the way a request goes, once for each worker, and then let traffic in.

        What fails its own example does not serve. One request at a time, since nothing else is done meanwhile.
        """
        body = example(one.declared.archive) if one.warm_ups < one.declared.serving.workers else None
        if body is not None:
            failure = self._ask(one.declared, body)
            if one.proven or not failure:  # what has served before serves again, if slowly at first
                one.warm_ups += 1
                return
            one.failed_examples += 1
            if one.failed_examples >= FAILED_EXAMPLES:
                words = f"its own example fails {FAILED_EXAMPLES} times, the last answer: {failure}"
                self._refuse(fleet, one, words)
            return
        one.state, one.proven, one.whole_at = "ready", True, time.monotonic()
        one.failed_examples, one.reason = 0, ""
        self._routes.open(one.declared.model, one.declared.version)
        self._share()

    def _ask(self, one: Declared, body: bytes) -> str:
        """Send one request to a version; return what came if that was a failure."""
        transport = httpx.HTTPTransport(uds=str(self._run_dir.inference_socket))
        headers = {"Content-Type": "application/json", "X-Request-Id": "warm-up", "X-Shadow": "1"}
        try:
            with httpx.Client(transport=transport, timeout=self._settings.request_timeout_s / 5) as client:
                path = f"http://torchserve/predictions/{one.model}/{one.version}"
                answer = client.post(path, content=body, headers=headers)
        except httpx.TransportError as error:
            return f"none ({error!r})"
        return f"{answer.status_code} {answer.text[:200]}" if answer.is_server_error else ""

    def _refuse(self, fleet: Fleet, one: Version, reason: str) -> None:
        with contextlib.suppress(FleetError):
            fleet.remove(one.declared)
        one.state, one.reason = "refused", reason
        self._routes.refuse(one.declared.model, one.declared.version)
        self._share()
        say(f"{one.declared} refuses to serve: {reason}\n          (all of it: {self._settings.log_dir}/workers.log)")

    def _leave(self, one: Version) -> None:
        if one.state != "draining":
            one.state, one.closed_at = "draining", time.monotonic()

    def _drain(self, fleet: Fleet, one: Version) -> None:
        """Remove a version once nobody can be waiting for it: a request is answered within its timeout."""
        self._routes.close(one.declared.model, one.declared.version)
        if time.monotonic() - one.closed_at < self._settings.request_timeout_s or fleet.status(one.declared).queued:
            return
        fleet.remove(one.declared)
        self._forget(one)
        say(f"{one.declared} is gone")

    def _forget(self, one: Version) -> None:
        model, version = one.declared.model, one.declared.version
        del self._versions[model, version]
        self._routes.forget(model, version)
        self._declaration.forget_others([*(other.declared for other in self), *self._declared])
        self._stale = True  # it may be declared with another archive, which can be taken up now

    def _report(self, now: float) -> None:
        rows: list[dict[str, object]] = [
            {
                "replica": self._settings.replica_name,
                "model": one.declared.model,
                "version": one.declared.version,
                "sha256": one.declared.sha256,
                "state": one.state,
                "reason": one.reason,
                "weight": self._weights.get((one.declared.model, one.declared.version), 0.0),
            }
            for one in self
        ]
        if rows == self._reported and now - self._reported_at < REPORT_S:
            return
        mine = REPLICAS.c.replica == self._settings.replica_name
        with self._database.writing() as connection:
            connection.execute(sa.delete(REPLICAS).where(mine))
            if rows:
                seen_at = replicas.clock(connection)
                connection.execute(sa.insert(REPLICAS), [row | {"seen_at": seen_at} for row in rows])
        self._reported, self._reported_at = rows, now

    def gone(self) -> None:
        """Tell the database that nothing runs here any more."""
        with contextlib.suppress(*AWAY), self._database.writing() as connection:
            connection.execute(sa.delete(REPLICAS).where(REPLICAS.c.replica == self._settings.replica_name))


def _at_its_priority(one: Declared, pids: Iterable[int]) -> bool:
    """Let the workers of a silent version take only what is left over; False if only new ones can do otherwise."""
    if one.weight == 0 and one.input_share > 0:
        priority.lower(pids)
        return True
    return priority.restore(pids)

"""Brings one TorchServe and its gateway in line with what should run.

What a version goes through is decided by `marina.serving.version_state.step`, without I/O; here is what it is decided
by, TorchServe as it is found at each poll, and the actions that follow.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, assert_never

import httpx

from marina.processes import priority
from marina.processes.console import log
from marina.processes.cpu import usable_cores
from marina.processes.files import write_atomically
from marina.processes.guard import Guard
from marina.releases.declarations import Declaration, DeclarationError, Declared
from marina.serving import hung_workers, version_events
from marina.serving.archive_room import count_missing_bytes
from marina.serving.concurrency_limits import QUEUED_PART, Limit, Look
from marina.serving.counters import Key, TrafficCounters
from marina.serving.hung_workers import Hung
from marina.serving.replica_report import ReplicaReport, RouteState
from marina.serving.run_dir import RunDir
from marina.serving.torchserve_client import TorchServeClient, TorchServeError
from marina.serving.traffic_split import find_stand_ins, split_traffic
from marina.serving.version_events import Action, Observed
from marina.serving.version_state import State, Version, step
from marina.serving.warm_up import ask_example
from marina.settings import Settings

MEASURE_S = 1.0  # how often limits are adapted
SPARE = 2  # versions that load at once beyond one a core: the first answer comes sooner than if all did


class TrafficRouter(RouteState, Protocol):
    """What decides which requests reach which version; changes hold from one request to the next."""

    def declare(self, model: str, version: str) -> None:
        """Make a version known."""

    def forget(self, model: str, version: str) -> None:
        """Make a version unknown."""

    def open(self, model: str, version: str) -> None:
        """Let traffic through to a version."""

    def close(self, model: str, version: str) -> None:
        """Let no traffic through to a version."""

    def refuse(self, model: str, version: str) -> None:
        """Let no traffic through to a version, and answer that it failed its check."""

    def close_all(self) -> None:
        """Let no traffic through to any version."""

    def limit(self, model: str, version: str, requests: int) -> None:
        """Let this many of a version's requests be in flight at once."""

    def set_stand_in(self, model: str, version: str, other: str) -> None:
        """Ask another version what this one fails to answer; empty: none."""

    def share(self, model: str, weights: Sequence[tuple[str, float]]) -> dict[str, float]:
        """Divide a model's unversioned requests; return the weights in force."""

    def retry_divisions(self) -> None:
        """Try again to divide what could not be divided."""


class Reconciler:
    """Every version of one server."""

    def __init__(
        self,
        settings: Settings,
        declaration: Declaration,
        routes: TrafficRouter,
        run_dir: RunDir,
        guard: Guard,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._declaration = declaration
        self._routes = routes
        self._run_dir = run_dir
        self._guard = guard
        self._monotonic = monotonic
        self._versions: dict[Key, Version] = {}
        self._limits: dict[Key, Limit] = {}
        self._declared: list[Declared] = []
        self._input_shares: dict[str, float] | None = None
        self._counters = TrafficCounters(run_dir.metrics_socket, run_dir.path / "refused.log")
        self._measured_at: float | None = None
        self._hung = Hung(quiet_s=settings.request_timeout_s / 3, busy_s=settings.request_timeout_s)
        self._incomplete = False  # some version is desired that is not in `_versions`
        self._undivided: set[str] = set()  # models whose requests could not be divided
        self._unclosed: set[Key] = set()  # versions whose traffic could not be closed
        self._report = ReplicaReport(routes, monotonic)

    def __iter__(self) -> Iterator[Version]:
        return iter(self._versions.values())

    @property
    def loading(self) -> bool:
        """Whether some version is waiting, loading or draining."""
        return any(version.state in (State.WAITING, State.LOADING, State.DRAINING) for version in self)

    @property
    def settled(self) -> bool:
        """Whether every desired version is ready or refused."""
        return all(version.state in (State.READY, State.REFUSED, State.DRAINING) for version in self)

    @property
    def workers(self) -> int:
        """How many worker processes the versions want."""
        return sum(version.declared.serving.workers for version in self if version.state is not State.REFUSED)

    def list_ready(self) -> list[Declared]:
        """Return the versions that are ready."""
        return [version.declared for version in self if version.state is State.READY]

    def list_states(self) -> dict[str, dict[str, str]]:
        """Return each desired version's state, by model."""
        return self._report.list_states(self._versions.values())

    def list_answering(self) -> dict[str, bool]:
        """Return, for each model, whether it has versions with traffic and every one of them is ready."""
        return self._report.list_answering(self._versions.values())

    def check_health(self) -> bool:
        """Return whether this server is to be sent requests: see `ReplicaReport.check_health`."""
        return self._report.check_health(self._versions.values())

    def list_rows(self) -> list[dict[str, object]]:
        """Return what runs, by the columns of `marina.database.tables.REPLICAS`."""
        return self._report.list_rows(self._versions.values())

    def follow(self, declared: Sequence[Declared]) -> None:
        """Take over what should run now, the newest first."""
        with self._guard.part("retrying traffic splits that failed"):
            self._routes.retry_divisions()
        self._publish_input_shares()
        declared = list(declared)
        done = not self._incomplete and not self._undivided
        if declared == self._declared and done and not any(version.state is State.DRAINING for version in self):
            return
        desired = {(one.model, one.version): one for one in declared}
        for key, version in list(self._versions.items()):
            now = desired.get(key)
            if now is None or now.sha256 != version.declared.sha256:
                self._observe(key, version_events.NotDesired())
            else:
                self._observe(key, version_events.Desired(now.weight, now.input_share, now.workers))
        self._declared = declared
        for key, one in desired.items():
            if key not in self._versions:
                with self._guard.part(f"adding {one}"):
                    self._routes.declare(one.model, one.version)
                    self._versions[key] = self._fetch(one)
        self._incomplete = any(key not in self._versions for key in desired)  # those are tried again
        self._divide_traffic()

    def lose_server(self) -> None:
        """Note that TorchServe is gone, and everything in it."""
        self._routes.close_all()
        self._report.note_start()
        for key in list(self._versions):
            self._observe(key, version_events.ServerLost())
        self._divide_traffic()

    def reconcile(self, client: TorchServeClient, stopping: Callable[[], bool]) -> None:
        """Bring TorchServe one step nearer to what should run.

        Raises
        ------
        httpx.TransportError
            When TorchServe's management does not answer.
        """
        due = self._measured_at is None or self._monotonic() - self._measured_at >= MEASURE_S
        arrived = self._counters.arrived() if due else {}
        for key, version in list(self._versions.items()):
            if stopping():
                return
            with self._guard.part(f"reconciling {version.declared}", passing=(httpx.TransportError,)):
                try:
                    self._poll(key, client)
                except TorchServeError as error:
                    self._note_failure(key, str(error))
        if due:
            self._adapt_limits(arrived)

    def end_hung(self, java: int) -> None:
        """End the workers that hang: children of `java`, which starts new ones."""
        now = self._monotonic()
        for version in self:
            for pid, why in self._hung.find(version.pids, java, version.queued > 0, now):
                log(f"{version.declared}: worker {pid} hangs: {why}; killing it")
                hung_workers.end(pid)
        self._hung.keep({pid for version in self for pid in version.pids})

    def _poll(self, key: Key, client: TorchServeClient) -> None:
        if key in self._unclosed:
            self._close_route(key)
            self._divide_traffic()
        now = self._monotonic()
        loading = sum(version.occupies_cores(now) for version in self)
        self._observe(key, version_events.PollStarted(may_load=loading < usable_cores() + SPARE), client)
        if key in self._versions:
            self._observe(key, version_events.PollEnded(), client)

    def _observe(self, key: Key, observed: Observed, client: TorchServeClient | None = None) -> None:
        """Take an observation into account and do what follows from it, with TorchServe where there is one."""
        self._versions[key], actions = step(self._versions[key], observed, self._monotonic())
        for action in actions:
            result = self._perform(key, action, client)
            if result is not None:
                self._observe(key, result, client)

    def _perform(self, key: Key, action: Action, client: TorchServeClient | None) -> Observed | None:
        match action:
            case version_events.Log(message):
                log(message)
            case version_events.DivideTraffic():
                self._divide_traffic()
            case version_events.OpenRoute():
                self._routes.open(*key)
                self._unclosed.discard(key)
                return version_events.RouteOpened()
            case version_events.CloseRoute():
                self._close_route(key)
            case version_events.MarkRefused():
                self._routes.refuse(*key)
            case version_events.StartLimit(example_s):
                self._start_limit(key, example_s)
            case version_events.SetPriority(background, pids):
                return version_events.PrioritySet(done=_set_priority(background, pids))
            case version_events.AskExample():
                return ask_example(
                    self._run_dir.inference_socket, self._versions[key].declared, self._settings.request_timeout_s
                )
            case version_events.CheckArchive():
                return self._check_archive(key)
            case version_events.Forget():
                self._forget(key)
            case _:
                if client is None:
                    raise TorchServeError(
                        f"{self._versions[key].declared}: {action} needs TorchServe, which is not running"
                    )
                return self._perform_in_torchserve(key, action, client)
        return None

    def _perform_in_torchserve(
        self, key: Key, action: version_events.ServerAction, client: TorchServeClient
    ) -> Observed | None:
        declared = self._versions[key].declared
        match action:
            case version_events.Register():
                log_start = client.log_end()
                try:
                    client.register(declared)
                except TorchServeError as error:
                    return version_events.NotRegistered(str(error), self._describe_full_disk(declared))
                return version_events.Registered(log_start)
            case version_events.Describe():
                return client.status(declared)
            case version_events.SearchRefusal(log_start):
                return version_events.RefusalSearched(client.refusal(declared, log_start))
            case version_events.Scale():
                client.scale(declared, declared.serving.workers)
                self._limits.pop(key, None)
                self._start_limit(key, self._versions[key].example_s)
                return None
            case version_events.RestartWorkers():
                client.revive(declared)
                return version_events.WorkersRestarted()
            case version_events.Reject(reason):
                with contextlib.suppress(TorchServeError):
                    client.remove(declared)
                path = self._settings.log_dir / "workers.log"
                log(f"{declared} refuses to serve: {reason}\n          (details: {path})")
                return version_events.Refused(reason)
            case version_events.Unregister():
                client.remove(declared)
                return None
            case _:
                assert_never(action)

    def _fetch(self, one: Declared) -> Version:
        try:
            return Version(self._declaration.fetch(one), self._settings.request_timeout_s)
        except DeclarationError as error:
            log(f"{one} cannot be served: {error}")
            self._routes.refuse(one.model, one.version)
            return Version(one, self._settings.request_timeout_s, State.REFUSED, reason=str(error))

    def _check_archive(self, key: Key) -> Observed:
        """Look through a version's archive before it is registered again: its copy may be damaged, or gone, by now."""
        mine = self._versions[key].declared
        known = [one for one in self._declared if (one.model, one.version) == key and one.sha256 == mine.sha256]
        origin = known[0].archive if known else mine.archive
        try:
            declared = self._declaration.fetch(dataclasses.replace(mine, archive=origin))
        except DeclarationError as error:
            return version_events.ArchiveLost(str(error))
        return version_events.ArchiveChecked(declared)

    def _describe_full_disk(self, declared: Declared) -> str:
        """Say which disk has no room for an archive's contents; empty where they have room."""
        missing = count_missing_bytes(declared.archive, self._run_dir.temp)
        return f". {self._run_dir.temp} is full: free at least {missing / 1e6:.0f} MB there" if missing else ""

    def _note_failure(self, key: Key, reason: str) -> None:
        version = self._versions.get(key)
        if version is not None and version.reason != reason:
            self._versions[key] = dataclasses.replace(version, reason=reason)
            log(reason)

    def _close_route(self, key: Key) -> None:
        self._unclosed.add(key)
        self._routes.close(*key)
        self._unclosed.discard(key)

    def _forget(self, key: Key) -> None:
        del self._versions[key]
        self._limits.pop(key, None)
        self._unclosed.discard(key)
        self._routes.forget(*key)
        self._declaration.forget_others([*(version.declared for version in self), *self._declared])
        self._incomplete = True  # it may be desired with another archive, which can be taken up now

    def _start_limit(self, key: Key, example_s: float | None) -> None:
        if key in self._limits:
            return
        serving = self._versions[key].declared.serving
        limit = Limit(self._settings.request_timeout_s * QUEUED_PART, serving.workers * serving.batch_size)
        if example_s is not None:
            limit.guess(example_s)
        self._limits[key] = limit
        self._routes.limit(*key, limit.requests)

    def _adapt_limits(self, arrived: Mapping[Key, float]) -> None:
        """Let each version have as many requests in flight as it answers in time.

        `arrived` is of before the queues were polled, so that a queue that only grows never seems to move.
        """
        now = self._measured_at = self._monotonic()
        refused = self._counters.refused()
        for key, version in list(self._versions.items()):
            if key not in arrived:
                continue
            self._observe(key, version_events.RequestsTaken(arrived[key] - version.queued))
            limit = self._limits.get(key)
            if limit is not None:
                limit.look(Look(now, arrived[key], version.queued, refused[key]))
                self._routes.limit(*key, limit.requests)

    def _divide_traffic(self) -> None:
        """Divide each model's requests; one whose links cannot be made, as on a full disk, is tried again."""
        models: dict[str, list[Version]] = {version.declared.model: [] for version in self}
        for one in self._declared:
            version = self._versions.get((one.model, one.version))
            if version is not None and version.declared.sha256 == one.sha256:
                models[one.model].append(version)
        self._undivided = set(models)
        for model, versions in models.items():
            with self._guard.part(f"splitting the traffic of {model}"):
                self._routes.share(model, split_traffic(versions))
                for name, stand_in in find_stand_ins(versions).items():
                    self._routes.set_stand_in(model, name, stand_in)
                self._undivided.discard(model)

    def _publish_input_shares(self) -> None:
        """Let workers know of which share of the requests inputs are to be logged."""
        shares: dict[str, float] = {}
        for one in self._declared:
            shares[one.model] = max(one.input_share, shares.get(one.model, 0.0))
        if shares != self._input_shares:
            with contextlib.suppress(OSError):  # a full disk; tried again
                write_atomically(self._settings.spool_dir / "input_share.json", json.dumps(shares))
                self._input_shares = shares


def _set_priority(background: bool, pids: Sequence[int]) -> bool:
    if background:  # a shadow version's workers run only on idle cores
        priority.lower(pids)
    return background or priority.restore(pids)  # False: only new workers can do otherwise

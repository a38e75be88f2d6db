"""The only code that speaks TorchServe's management API.

Each call is followed by a look at what really runs. Registration is asynchronous, because a synchronous one holds up
predictions for as long as a model loads; readiness is what describe says, because TorchServe's own /ping is content
with workers that never loaded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from marina.releases.declarations import Declared

State = Literal["absent", "loading", "ready"]
LOOK_S, CHANGE_S = 5.0, 30.0
"""How long an answer is waited for: the supervisor does nothing else meanwhile, and only changes take long."""

LOG_TAIL_BYTES = 1_000_000
FAILED_LOADS = 2  # one may be an accident of the machine; a second in a row is the archive's own
WORKER_GAVE_UP = re.compile(r"Backend worker process died\.|Load model .* exception")


class TorchServeError(RuntimeError):
    """TorchServe did not do what it was asked to; the message says what came instead."""


@dataclass(frozen=True)
class Status:
    """What describe says about one version.

    Attributes
    ----------
    state
        absent (not registered), loading (no worker ready), ready (at least one is).
    workers, ready_workers
        How many workers there should be, and how many are ready.
    pids, ready_pids
        Process ids of the workers, and of those that have loaded.
    queued
        Requests waiting.
    configured
        How many workers TorchServe was told to run; None where that is not known.
    """

    state: State
    workers: int = 0
    ready_workers: int = 0
    pids: tuple[int, ...] = ()
    ready_pids: tuple[int, ...] = ()
    queued: int = 0
    configured: int | None = None


class TorchServeClient:
    """One TorchServe, by its management socket."""

    def __init__(self, socket: Path, delay_ms: int, worker_log: Path) -> None:
        self._default_delay_ms = delay_ms
        self._worker_log = worker_log
        self._http = httpx.Client(
            # Nothing is verified on a private socket, and reading the world's certificates costs 25 ms each time.
            transport=httpx.HTTPTransport(uds=str(socket), verify=False),
            base_url="http://torchserve",
            timeout=httpx.Timeout(LOOK_S),
        )

    def reachable(self) -> bool:
        """Whether the management API answers."""
        try:
            return self._http.get("/models", timeout=2.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def register(self, one: Declared) -> None:
        """Register a version and start its workers, without waiting for them; nothing happens if it is there already.

        Raises
        ------
        TorchServeError
            When TorchServe refuses, or runs other values than the archive asks for.
        httpx.TransportError
            When TorchServe is gone.
        """
        if self._describe(one) is None:
            answer = self._http.post(
                "/models",
                params={
                    "url": one.archive.name,
                    "model_name": one.model,
                    "batch_size": one.serving.batch_size,
                    "max_batch_delay": self._delay_ms(one),
                    "initial_workers": one.serving.workers,
                    "response_timeout": one.serving.response_timeout_s,
                    "startup_timeout": one.serving.startup_timeout_s,
                    "synchronous": "false",
                },
                timeout=CHANGE_S,
            )
            if answer.is_error:
                self.remove(one)  # a failed registration may stay behind without workers
                raise TorchServeError(f"{one}: TorchServe refuses to register it: {_message(answer)}")
        described = self._describe(one)
        if described is None:
            raise TorchServeError(
                f"{one}: registered, yet TorchServe does not know it. Is {one.archive.name} that version?"
            )
        self._compare(one, described)

    def status(self, one: Declared) -> Status:
        """Look at a version.

        Raises
        ------
        httpx.TransportError
            When TorchServe is gone.
        """
        described = self._describe(one)
        if described is None:
            return Status("absent")
        workers = described.get("workers", [])
        ready = [worker for worker in workers if worker["status"] == "READY"]
        return Status(
            "ready" if ready else "loading",
            workers=one.serving.workers,
            ready_workers=len(ready),
            pids=_pids(workers),
            ready_pids=_pids(ready),
            queued=int(described.get("jobQueueStatus", {}).get("pendingRequests", 0)),
            configured=described.get("minWorkers"),
        )

    def remove(self, one: Declared) -> None:
        """Remove a version at once. Its traffic must have left: requests in its queue would never be answered.

        Raises
        ------
        TorchServeError
            When TorchServe refuses.
        """
        answer = self._http.delete(f"/models/{one.model}/{one.version}", timeout=CHANGE_S)
        if answer.status_code == httpx.codes.FORBIDDEN and (others := self._others(one)):
            # The first version that was registered is TorchServe's default, which it keeps while there are others.
            self._http.put(f"/models/{one.model}/{others[0]}/set-default", timeout=CHANGE_S)
            answer = self._http.delete(f"/models/{one.model}/{one.version}", timeout=CHANGE_S)
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise TorchServeError(f"{one}: TorchServe refuses to remove it: {_message(answer)}")

    def revive(self, one: Declared) -> None:
        """Give a version new workers, as after TorchServe has given up restarting them, which it does for good.

        Raises
        ------
        TorchServeError
            When TorchServe refuses.
        """
        self.scale(one, 0)
        self.scale(one, one.serving.workers)

    def scale(self, one: Declared, workers: int) -> None:
        """Give a version so many workers, without waiting for them.

        Raises
        ------
        TorchServeError
            When TorchServe refuses.
        """
        asked = {"min_worker": workers, "max_worker": workers}
        answer = self._http.put(f"/models/{one.model}/{one.version}", params=asked, timeout=CHANGE_S)
        if answer.is_error:
            raise TorchServeError(f"{one}: TorchServe refuses to give it {workers} workers: {_message(answer)}")

    def refusal(self, one: Declared, since: float) -> str | None:
        """Say why a version's workers refuse to load, in their own words; None while it may still come.

        Parameters
        ----------
        since
            Where the worker log ended (`log_end`) when the version was registered.
        """
        lines = self._worker_lines(one, int(since))
        ends = [number for number, line in enumerate(lines) if WORKER_GAVE_UP.search(line)]
        if len(ends) < FAILED_LOADS * one.serving.workers:
            return None
        raised = [line for line in lines[ends[0] : ends[1]] if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
        return raised[0] if raised else " / ".join(lines[ends[0] : ends[0] + 5])

    def log_end(self) -> int:
        """Return where the worker log ends now, in bytes."""
        return self._worker_log.stat().st_size if self._worker_log.exists() else 0

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _worker_lines(self, one: Declared, start: int) -> list[str]:
        if not self._worker_log.exists():
            return []
        with self._worker_log.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(start if start <= size else 0, size - LOG_TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
        mine = re.compile(rf"^\S+ \[\w+\] W-\d+-{re.escape(f'{one.model}_{one.version}')}-std(?:out|err) - (.*)$", re.M)
        return mine.findall(text)

    def _delay_ms(self, one: Declared) -> int:
        return one.serving.max_batch_delay_ms or self._default_delay_ms

    def _describe(self, one: Declared) -> dict[str, Any] | None:
        answer = self._http.get(f"/models/{one.model}/{one.version}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise TorchServeError(f"{one}: TorchServe cannot describe it: {_message(answer)}")
        described: dict[str, Any] = answer.json()[0]
        return described

    def _others(self, one: Declared) -> list[str]:
        answer = self._http.get(f"/models/{one.model}/all")
        described = answer.json() if answer.is_success else []
        return [other["modelVersion"] for other in described if other["modelVersion"] != one.version]

    def _compare(self, one: Declared, described: dict[str, Any]) -> None:
        asked = {
            "batchSize": one.serving.batch_size,
            "maxBatchDelay": self._delay_ms(one),
            "minWorkers": one.serving.workers,
            "responseTimeout": one.serving.response_timeout_s,
            "startupTimeout": one.serving.startup_timeout_s,
        }
        wrong = [
            f"{key} {described.get(key)} (asked: {value})"
            for key, value in asked.items()
            if described.get(key) != value
        ]
        if wrong:
            raise TorchServeError(f"{one}: TorchServe runs other values than its archive asks for: {', '.join(wrong)}")


def _pids(workers: Iterable[dict[str, Any]]) -> tuple[int, ...]:
    return tuple(int(worker["pid"]) for worker in workers if int(worker.get("pid", -1)) > 0)


def _message(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json()['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:500]}"

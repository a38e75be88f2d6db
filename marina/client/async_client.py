"""The client of programs with an event loop: the methods of `marina.client.Client`, to be awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from marina.client import requests
from marina.client.answers import Answer, Event, Features, MarketPrediction, Receipt
from marina.client.events import Reader
from marina.client.requests import DEADLINE_S, Ask, Read
from marina.client.retries import Attempts


class AsyncClient:
    """A connection to a Marina server; use it for many calls, in one event loop, and close it.

    Parameters
    ----------
    url
        Where the server is; default: the environment's MARINA_URL, else http://127.0.0.1:8080.
    token
        Its inference token; default: MARINA_TOKEN, else none.
    user, session
        Who asks: keeps one version of a model, and one arm of a flag.
    deadline_s
        How long a call may take with all its attempts; each call may say otherwise.
    transport
        Of httpx, for what needs another one: ``httpx.AsyncHTTPTransport(verify=…)``.

    Attributes
    ----------
    feature_store
        What the feature store has.
    market
        What the market may bring.

    Raises
    ------
    marina.client.ArgumentError
        When the URL is none.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        user: str | None = None,
        session: str | None = None,
        deadline_s: float = DEADLINE_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._deadline_s = deadline_s
        self._http = httpx.AsyncClient(
            base_url=requests.base_url(url),
            headers=requests.headers(token, user, session),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            transport=transport,
        )
        self.feature_store = AsyncFeatureStore(self)
        self.market = AsyncMarket(self)

    async def predict(
        self,
        model: str,
        features: Mapping[str, Any] | None = None,
        *,
        repo_id: str | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> Answer:
        """Ask a model about one instance.

        Parameters
        ----------
        model
            Marina's name of it, or RiskPredictor, AnomalyDetector, BugPredictor, ImpactAnalyzer, Meta-learner.
        features
            The instance's fields, as the page of the model's family describes them; of code health's, its features.
        repo_id
            In the place of features: a repository whose features the feature store has (code health only).
        deadline_s
            How long it may take.
        options
            What is sent beside the instance: ``top_k=3``, ``tta=True``.

        Raises
        ------
        marina.client.Error
            When there is no answer; its subclasses say why.
        """
        return await self.send(requests.ask_predict(model, features, repo_id, options, False), deadline_s)

    async def explain(
        self,
        model: str,
        features: Mapping[str, Any] | None = None,
        *,
        repo_id: str | None = None,
        deadline_s: float | None = None,
        **options: Any,
    ) -> Answer:
        """Ask as `predict` does, and what the model relied on: `Answer.attributions`."""
        return await self.send(requests.ask_predict(model, features, repo_id, options, True), deadline_s)

    async def predict_many(
        self,
        model: str,
        instances: Sequence[Mapping[str, Any]],
        *,
        partial: bool = False,
        deadline_s: float | None = None,
        **options: Any,
    ) -> list[Answer]:
        """Ask about many instances, 256 in a request; otherwise as `predict`.

        Parameters
        ----------
        partial
            Whether bad instances are left out; each one's `Answer.fault` says why. Otherwise one refuses its request.

        Returns
        -------
        list of Answer
            One each, in their order.
        """
        answers: list[Answer] = []
        end = time.monotonic() + (deadline_s or self._deadline_s)
        for first, some in requests.chunks(instances):
            left = max(0.001, end - time.monotonic())
            found: list[Answer] = await self.send(requests.ask_many(model, some, options, partial, first), left)
            answers += found
        return answers

    async def feedback(
        self, answer: Answer | str, truth: Any, *, instance: int | None = None, deadline_s: float | None = None
    ) -> Receipt:
        """Say what was true; may be sent again at will.

        Parameters
        ----------
        answer
            The answer, or its request id.
        truth
            The label; of other answers what docs/LABELS.md lists, such as ``{"SPIKE_LIKELY@4h": True}``.
        instance
            The instance's place in the request; default: the answer's own.
        """
        return await self.send(requests.ask_feedback(answer, truth, instance), deadline_s)

    async def send(self, ask: Ask[Read], deadline_s: float | None = None) -> Read:
        """Send a request until it is answered, or its deadline passes."""
        attempts = Attempts(deadline_s or self._deadline_s)
        while True:
            try:
                answer = await self._http.request(
                    ask.method, ask.path, content=ask.body, headers=ask.headers, timeout=attempts.timeout
                )
            except httpx.TransportError as fault:
                pause_s = attempts.after_fault(fault)
            else:
                if answer.is_success:
                    return ask.read(answer)
                pause_s = attempts.after_answer(answer)
            await asyncio.sleep(pause_s)

    async def stream(self, path: str, last_id: str, patience_s: float) -> AsyncIterator[Event]:
        """Yield the events of a stream, which is taken up again where its connection broke."""
        reader, failing = Reader(last_id), Attempts(patience_s)
        while True:
            given = {"Accept": "text/event-stream"} | ({"Last-Event-ID": reader.last_id} if reader.last_id else {})
            timeout = httpx.Timeout(patience_s, read=max(30.0, patience_s))
            try:
                async with self._http.stream("GET", path, headers=given, timeout=timeout) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        pause_s = failing.after_answer(answer)
                    else:
                        reader.clear()
                        async for line in answer.aiter_lines():
                            failing = Attempts(patience_s)
                            if event := reader.feed(line):
                                yield event
                        pause_s = min(reader.pause_s, patience_s / 2)
            except httpx.ReadTimeout:  # not even a sign of life
                pause_s = reader.pause_s
            except httpx.TransportError as fault:
                pause_s = failing.after_fault(fault)
            await asyncio.sleep(pause_s)

    async def aclose(self) -> None:
        """Let go of every connection."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()


class AsyncFeatureStore:
    """What the feature store has of repositories."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get_features(
        self, repo_id: str, feature_groups: Sequence[str] | None = None, *, deadline_s: float | None = None
    ) -> Features:
        """Return a repository's features.

        Parameters
        ----------
        repo_id
            Which repository.
        feature_groups
            Which groups of them, such as ``["git", "code"]``; default: all.
        """
        return await self._client.send(requests.ask_features(repo_id, feature_groups), deadline_s)


class AsyncMarket:
    """What the market may bring."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def predict(
        self,
        *,
        horizon: str | None = None,
        all_horizons: bool | None = None,
        alert_type: str | None = None,
        min_probability: float | None = None,
        deadline_s: float | None = None,
    ) -> list[MarketPrediction]:
        """Return predictions for the current window, the most probable first."""
        given = {
            "horizon": horizon,
            "all_horizons": all_horizons,
            "alert_type": alert_type,
            "min_probability": min_probability,
        }
        return await self._client.send(requests.ask_market(given), deadline_s)

    def stream(self, *, last_id: str = "", patience_s: float = 60.0) -> AsyncIterator[Event]:
        """Yield alerts as they come, until the caller stops.

        Parameters
        ----------
        last_id
            `Event.id` after which to begin.
        patience_s
            For how long the server may be unreachable, before that is raised.
        """
        return self._client.stream("/api/ml/stream", last_id, patience_s)

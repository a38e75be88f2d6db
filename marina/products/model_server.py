"""Asks models through the gateway, as any client does: canaries, limits, the log and retries apply.

One pool of connections for the whole process. The client's own token, session and user go along, so that a client is
the same to the gateway whichever way it comes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import orjson

from marina.processes.console import log
from marina.products.answer_cache import AnswerCache, cache_key
from marina.products.errors import ProductError, RelayedError
from marina.products.flags.provider import Flags
from marina.products.live_versions import Live, LiveVersions
from marina.serving.gateway_pool import Said

PASSED_ON = ("authorization", "x-session-id", "x-user-id", "traceparent")
"""Headers of the client's that are passed on to the gateway."""


class Gateway(Protocol):
    """What takes requests to the models (`marina.serving.gateway_pool.Gateway`)."""

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Said:
        """Send a request, and return its answer."""

    async def aclose(self) -> None:
        """Let go of its connections."""


@dataclass
class Call:
    """One request to the products' interface, while it is answered.

    Attributes
    ----------
    request_id
        Its id; the first request to each model has the same.
    headers
        Of the client's headers, those that are passed on.
    flags
        Which flags were asked for, and what they said.
    models
        Which versions answered, and from where.
    found
        What the memory answered last: whose answer it is, and its key.
    """

    request_id: str
    headers: Mapping[str, str]
    key: str = ""
    flags: dict[str, bool] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    found: tuple[Live, str] | None = None

    def flag(self, flags: Flags, name: str) -> bool:
        """Ask for a flag, and remember what it said."""
        if name not in self.flags:
            self.flags[name] = flags.value(name, self.key)
        return self.flags[name]

    def served(self) -> dict[str, Any]:
        """Return what every answer says of how it came about."""
        return {"request_id": self.request_id, "models": self.models, "flags": self.flags}


@dataclass(frozen=True)
class Answer:
    """A model's answer.

    Attributes
    ----------
    body
        As the model server gave it.
    version
        Which version answered.
    request_id
        Under which id it is in the prediction log: an earlier request's where a cache answered.
    cache
        ``memory``, ``redis``, ``shared``, ``miss``, or why no cache was asked: ``off``, ``release`` (several versions).
    """

    body: dict[str, Any]
    version: str
    request_id: str
    cache: str


class ModelServer:
    """The gateway, and the caches before it.

    Parameters
    ----------
    gateway
        Where requests are sent.
    cache, live
        What is remembered, and which version would answer.
    flags
        Whether to remember at all.
    """

    def __init__(self, gateway: Gateway, cache: AnswerCache, live: LiveVersions, flags: Flags) -> None:
        self._gateway = gateway
        self.cache = cache
        self.live = live
        self.flags = flags

    async def ask(
        self,
        call: Call,
        model: str,
        question: Mapping[str, Any],
        verb: str = "predictions",
        *,
        part: int = 0,
        cached: bool = True,
    ) -> Answer:
        """Have a model answer.

        Parameters
        ----------
        question
            The body of the request.
        verb
            ``predictions`` or ``explanations``.
        part
            Which of several requests to the same model this is.
        cached
            Whether a cache may answer.

        Raises
        ------
        ProductError
            What the model server refused, in its words; 503 when it is unavailable, 504 when it took too long.
        """
        rid = call.request_id if not part else f"{call.request_id[:120]}.{part}"
        why = "off" if not (cached and call.flag(self.flags, "ml_api_cache")) else "release"
        live = await self.live.find(model) if why == "release" else None
        if live is None:
            raw, _, version = await self._fetch(call, model, question, verb, rid)
            return self._answer(call, model, raw, version, why)
        marked = live

        async def fetch() -> tuple[bytes, bool]:
            raw, whole, version = await self._fetch(call, model, question, verb, rid)
            kept = whole and version == marked.version and await self.live.find(model) == marked
            return version.encode() + b"\n" + raw, kept

        try:
            key = cache_key(model, verb, live, question)
        except TypeError as error:
            raise ProductError(422, "invalid", f"body: {error}", field="body") from None
        value, where = await self.cache.get(key, fetch)
        call.found = (live, key) if where == "memory" else None
        named, _, body = value.partition(b"\n")
        return self._answer(call, model, body, named.decode(), where)

    async def tell(self, call: Call, labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Send what was true to ``POST /feedback``; return its answer.

        Raises
        ------
        ProductError
            As `ask`.
        """
        answer = await self._send(call, "/feedback", {"labels": list(labels)}, call.request_id)
        return dict(orjson.loads(answer.content))

    async def close(self) -> None:
        """Let go of the connections to the gateway and to Redis."""
        await self._gateway.aclose()
        if self.cache.shared is not None:
            await self.cache.shared.close()

    async def _fetch(
        self, call: Call, model: str, question: Mapping[str, Any], verb: str, rid: str
    ) -> tuple[bytes, bool, str]:
        answer = await self._send(call, f"/{verb}/{model}", question, rid)
        return answer.content, b'"errors"' not in answer.content, answer.header(b"x-model-version")

    async def _send(self, call: Call, path: str, body: Mapping[str, Any], rid: str) -> Said:
        headers = {**call.headers, "Content-Type": "application/json", "X-Request-Id": rid}
        try:
            answer = await self._gateway.post(path, headers, orjson.dumps(body))
        except httpx.TimeoutException:
            raise ProductError(504, "deadline", "The model server did not answer in time. Send less at once.") from None
        except httpx.HTTPError:
            raise ProductError(503, "restarting", "The model server cannot be reached. Try again in 2 s.") from None
        except (orjson.JSONEncodeError, UnicodeEncodeError) as error:
            raise ProductError(422, "invalid", f"body: {error}", field="body") from None
        if 200 <= answer.status < 300:
            return answer
        try:
            said = orjson.loads(answer.content)["error"]
        except (ValueError, KeyError, TypeError):
            log(f"products: the gateway answered {answer.status} to {path} in no known form")
            raise ProductError(503, "restarting", "The model server is starting. Try again in two seconds.") from None
        raise RelayedError(answer.status, said, answer.header(b"retry-after") or None)

    def _answer(self, call: Call, model: str, raw: bytes, version: str, where: str) -> Answer:
        body = orjson.loads(raw)
        version = version or str(body.get("version", ""))
        rid = str(body.get("request_id") or call.request_id)
        call.models[model] = {"version": version, "cache": where, "prediction_id": rid}
        return Answer(body, version, rid, where)

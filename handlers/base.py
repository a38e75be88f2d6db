"""The path every request takes through a worker; a family says only what is particular to it.

A family overrides three hooks: `Handler.decode` (one JSON object to one item), `Handler.prepare` (items to the
graph's input arrays) and `Handler.phrase` (the graph's outputs to predictions). Everything else is here: content
types, options, isolation of bad requests, splitting of failing batches, the self-check at load, and the answer's
form. `handlers.errors` draws the path and its errors.

Per batch this costs one pass over the requests to decode them, one forward pass per group of items, one vectorised
pass over the outputs, and one write to the prediction log where there is one; nothing else is logged.
"""

import contextlib
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from archives.certificate import check_hashes
from archives.contract import Contract, read_contract
from handlers.engine import Engine, open_proven, threads
from handlers.errors import InternalError, InvalidError, RequestError
from handlers.fields import boolean
from handlers.intake import read_ahead
from handlers.spool import Answered, Spool
from handlers.wire import JSON, NPY, Body, decode_json, decode_npy, describe, integer, media_type, unsupported

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Outputs = dict[str, NDArray[Any]]

MAX_EXPLAINED = 64
"""Most instances of one request that are explained: an explanation costs a forward pass of its own."""

MAX_SESSION = 128
"""Longest session key, in characters."""


@dataclass(frozen=True)
class Call(Generic[Item]):
    """One decoded request."""

    items: list[Item]
    many: bool
    top_k: int
    session: str | None
    explain: bool


class Handler(ABC, Generic[Item]):
    """What TorchServe loads: one per worker process."""

    content_types: tuple[str, ...] = (JSON,)
    """The content types this family reads; one that names `NPY` overrides `decode_array`."""

    fields: frozenset[str] = frozenset()
    """The JSON fields of one instance."""

    switches: frozenset[str] = frozenset()
    """Optional JSON booleans of a whole request, false by default; a header ``X-NAME: true`` says the same."""

    default_top_k = 5

    max_instances = 256
    """Most instances one request may hold."""

    contract: Contract
    engine: Engine

    # ---- what a family says -------------------------------------------------------------------------------------

    @abstractmethod
    def decode(self, fields: dict[str, Any]) -> Item:
        """Validate one instance and return it as an item; raises `InvalidError`."""

    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Item]:
        """Validate the instances of one request; a family that can do so for all at once overrides this."""
        items = []
        for index, instance in enumerate(instances):
            try:
                items.append(self.decode(instance))
            except InvalidError as error:
                raise error.inside(f"instances[{index}]") from None
        return items

    def decode_array(self, array: NDArray[Any]) -> Item | list[Item]:
        """Validate one `.npy` body: an item, or a list of them where it holds many; raises `InvalidError`."""
        raise unsupported(NPY, (JSON,))

    def switched(self, items: list[Item], on: frozenset[str]) -> list[Item]:
        """Return a request's items as the switches that it has on want them; called only where one is on."""
        return items

    @abstractmethod
    def prepare(self, items: Sequence[Item]) -> dict[str, NDArray[Any]]:
        """Return the graph's inputs for a batch of items, the batch axis first."""

    @abstractmethod
    def phrase(self, outputs: Outputs, items: Sequence[Item], top_k: Sequence[int]) -> list[Any]:
        """Return the predictions of every item, given the pass it was in and how many each item's caller asked for."""

    def explain(self, item: Item) -> dict[str, Any]:
        """Attribute one item's answer to its input; a model that cannot says so with an `InvalidError`."""
        raise InvalidError("path", "/predictions/…", f"/explanations/…: {self.contract.model} explains no answers")

    def size(self, item: Item) -> int:
        """Return how much of a forward pass each of an item's rows takes, in units of `pass_limit`."""
        return 1

    def rows(self, item: Item) -> int:
        """Return how many rows of a forward pass, and of its outputs, are an item's; at least one."""
        return 1

    def unanswered(self, item: Item, top_k: int) -> Any | None:
        """Return what can be said of an item for which the graph has no answer; None is nothing, and our fault."""
        return None

    def opened(self, folder: Path) -> None:
        """Read what else a family keeps in the unpacked archive; called once, when the graph is proven."""

    # ---- loading ------------------------------------------------------------------------------------------------

    def initialize(self, context: Any) -> None:
        """Prove the archive, then load it: hashes, engine, golden inputs (which also warm the engine up).

        Raises
        ------
        ArchiveError
            If any proof fails: the worker then refuses to serve and TorchServe never routes to it.
        """
        folder = Path(context.system_properties["model_dir"])
        self._gpu: int | None = context.system_properties.get("gpu_id")
        check_hashes(folder)
        self.contract = read_contract(folder / "contract.json")
        settings = context.model_yaml_config.get("handler") or {}
        proven = open_proven(folder, self.contract, self._gpu)
        self.engine = proven.engine
        self.pass_limit = int(settings.get("pass_limit", 32))
        self.opened(folder)
        self._spool = Spool.from_environment(self.contract.model, self.contract.version)
        logger.info(
            "%s %s serves on %s, %d thread(s): %s",
            self.contract.model, self.contract.version, self.engine.name, threads(), proven.proof,
        )  # fmt: skip
        read_ahead()
        # TorchServe's worker prints two lines a batch at INFO, each waking the Java process; what they say (a time of
        # receipt, a gauge that mixes versions) is in the gateway's access line, per request and version.
        logging.getLogger().setLevel(logging.WARNING)

    # ---- answering ----------------------------------------------------------------------------------------------

    def handle(self, data: Sequence[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch of requests; each gets its own status, and none can spoil another's.

        Parameters
        ----------
        data : sequence of dict
            TorchServe's batch: one dict a request, its raw body under ``body``.
        context
            TorchServe's context, for headers and statuses.

        Returns
        -------
        list of bytes
            One JSON body per request, in order.
        """
        start = time.perf_counter()
        headers = [_lower(context.get_all_request_header(index)) for index in range(len(data))]
        calls = [self._decode(one, head) for one, head in zip(data, headers, strict=True)]
        results = iter(self._predict([call for call in calls if isinstance(call, Call)]))
        took_ms = round((time.perf_counter() - start) * 1e3, 3)
        answers: list[bytes] = []
        answered: list[Answered] = []
        for index, (call, head) in enumerate(zip(calls, headers, strict=True)):
            result = next(results) if isinstance(call, Call) else call
            request_id = head.get("x-request-id") or str(context.get_request_id(index))
            context.set_response_content_type(index, JSON)
            if isinstance(result, RequestError):
                context.set_response_status(code=result.status, phrase=result.code, idx=index)
                answers.append(orjson.dumps(result.body(request_id)))
                continue
            answer = {"model": self.contract.model, "version": self.contract.version, "request_id": request_id}
            assert isinstance(call, Call)  # whatever is none has become an error
            if call.session is not None:
                answer["session"] = call.session
            answers.append(orjson.dumps({**answer, **result, "serving_ms": took_ms}))
            answered.append(Answered(request_id, head, data[index].get("body", b""), call.many, answers[-1]))
        if self._spool is not None:
            self._spool.keep(answered)
        return answers

    def _decode(self, one: dict[str, Any], headers: dict[str, str]) -> Call[Item] | RequestError:
        """Turn one request into a call, or into the error that answers it."""
        try:
            body = one.get("body", b"")
            kind = media_type(headers.get("content-type", ""))
            if kind not in self.content_types:
                raise unsupported(headers.get("content-type", ""), self.content_types)
            if coding := headers.get("content-encoding", "").lower().replace("identity", ""):
                raise unsupported(f"{kind}, Content-Encoding: {coding}", self.content_types)
            return self._decode_json(body, headers) if kind == JSON else self._decode_npy(body, headers)
        except RequestError as error:
            return error.bare()
        except Exception:
            logger.exception("decoding failed; the request is answered as our fault")
            return InternalError()

    def _decode_npy(self, body: Body, headers: dict[str, str]) -> Call[Item]:
        decoded = self.decode_array(decode_npy(body))
        many = isinstance(decoded, list)
        items = self._switched(decoded if isinstance(decoded, list) else [decoded], {}, headers)
        return Call(items, many, self._top_k({}, headers), None, headers.get("explain") == "True")

    def _decode_json(self, body: Body, headers: dict[str, str]) -> Call[Item]:
        fields = decode_json(body)
        many = "instances" in fields
        known = (frozenset({"instances"}) if many else self.fields) | self.switches | {"top_k", "session"}
        if unknown := sorted(set(fields) - known):
            allowed = ", ".join(sorted(known))
            raise InvalidError(unknown[0][:64], f"only the fields {allowed}", describe(fields[unknown[0]]))
        session = fields.get("session")
        if session is not None and not (isinstance(session, str) and 0 < len(session) <= MAX_SESSION):
            raise InvalidError("session", f"a string of 1 to {MAX_SESSION} characters", describe(session))
        items = self._instances(fields["instances"]) if many else [self.decode(fields)]
        items = self._switched(items, fields, headers)
        return Call(items, many, self._top_k(fields, headers), session, headers.get("explain") == "True")

    def _instances(self, instances: Any) -> list[Item]:
        if not isinstance(instances, list) or not instances:
            raise InvalidError("instances", "a non-empty array of objects", describe(instances))
        if len(instances) > self.max_instances:
            raise InvalidError("instances", f"at most {self.max_instances} objects in one request", str(len(instances)))
        for index, instance in enumerate(instances):
            if type(instance) is not dict:
                raise InvalidError(f"instances[{index}]", "an object", describe(instance))
            if not instance.keys() <= self.fields:
                unknown = min(set(instance) - self.fields)
                allowed = ", ".join(sorted(self.fields))
                raise InvalidError(
                    f"instances[{index}].{unknown[:64]}", f"only the fields {allowed}", describe(instance[unknown])
                )
        return self.decode_instances(instances)

    def _switched(self, items: list[Item], fields: dict[str, Any], headers: dict[str, str]) -> list[Item]:
        said: dict[str, Any] = {name: headers[f"x-{name}"] for name in self.switches if f"x-{name}" in headers}
        said |= {name: sent.lower() == "true" for name, sent in said.items() if sent.lower() in ("true", "false")}
        on = frozenset(name for name in self.switches if boolean({**said, **fields}, name))
        return self.switched(items, on) if on else items

    def _top_k(self, fields: dict[str, Any], headers: dict[str, str]) -> int:
        most = max(1, len(self.contract.labels))
        asked = headers.get("x-top-k")
        if asked is not None and "top_k" not in fields:
            fields = {"top_k": int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else asked}
        return integer(fields, "top_k", min(self.default_top_k, most), 1, most)

    def _predict(self, calls: list[Call[Item]]) -> list[dict[str, Any] | RequestError]:
        """Return each call's answer, in order, from as few forward passes as the items allow."""
        items = [item for call in calls for item in call.items]
        top_k = [top for call in calls for top in [call.top_k] * len(call.items)]
        rows: list[Any] = [None] * len(items)
        for group in self._groups(items):
            self._forward(items, top_k, group, rows)
        results: list[dict[str, Any] | RequestError] = []
        for call in calls:
            mine, rows = rows[: len(call.items)], rows[len(call.items) :]
            if failed := next((row for row in mine if isinstance(row, RequestError)), None):
                results.append(failed)
                continue
            answer: dict[str, Any] = {"predictions": mine if call.many else mine[0]}
            results.append(self._explained(call, answer) if call.explain else answer)
        return results

    def _groups(self, items: Sequence[Item]) -> Iterator[list[int]]:
        """Yield the items' indices in groups whose padded size fits one forward pass, like with like."""
        sizes = [self.size(item) for item in items]
        group: list[int] = []
        rows = 0
        # Largest first, so the first member of a group is what the others are padded to.
        for index in sorted(range(len(items)), key=lambda index: -sizes[index]):
            rows += (more := self.rows(items[index]))
            if group and sizes[group[0]] * rows > self.pass_limit:
                yield group
                group, rows = [], more
            group.append(index)
        if group:
            yield group

    def _forward(self, items: Sequence[Item], top_k: Sequence[int], group: list[int], rows: list[Any]) -> None:
        """Fill the rows of a group; when its pass fails, halve the group until the culprit is alone."""
        mine = [items[index] for index in group]
        try:
            outputs = self.engine.run(self.prepare(mine))
            phrased = self.phrase(outputs, mine, [top_k[index] for index in group])
        except Exception as error:
            if self._gpu is not None and _poisons_cuda(error):
                _exit(error)
            if len(group) == 1:
                logger.exception("a request failed in the forward pass; it is answered as our fault")
                rows[group[0]] = self._without(items[group[0]], top_k[group[0]])
                return
            middle = len(group) // 2
            self._forward(items, top_k, group[:middle], rows)
            self._forward(items, top_k, group[middle:], rows)
            return
        if not all(np.isfinite(one).all() for one in outputs.values()):
            finite = [np.isfinite(one.reshape(len(one), -1)).all(axis=1) for one in outputs.values()]
            starts = np.cumsum([0, *(self.rows(item) for item in mine[:-1])])
            for row, whole in enumerate(np.logical_and.reduceat(np.logical_and.reduce(finite), starts)):
                if not whole:
                    phrased[row] = self._without(mine[row], top_k[group[row]])
        for index, answer in zip(group, phrased, strict=True):
            rows[index] = answer

    def _without(self, item: Item, top_k: int) -> Any:
        """Return what a family says without its graph, or the error that it has nothing to say."""
        answer = None
        with contextlib.suppress(Exception):  # a fallback that fails is none
            answer = self.unanswered(item, top_k)
        return InternalError() if answer is None else answer

    def _explained(self, call: Call[Item], answer: dict[str, Any]) -> dict[str, Any] | RequestError:
        try:
            if len(call.items) > MAX_EXPLAINED:
                raise InvalidError("instances", f"at most {MAX_EXPLAINED} to explain at once", str(len(call.items)))
            explanations = [self.explain(item) for item in call.items]
        except RequestError as error:
            return error.bare()
        except Exception:
            logger.exception("explaining failed; the request is answered as our fault")
            return InternalError()
        return {**answer, "explanations": explanations if call.many else explanations[0]}


def top_labels(probabilities: NDArray[Any], labels: Sequence[str], top_k: Sequence[int]) -> list[list[dict[str, Any]]]:
    """Return each row's most probable labels.

    Parameters
    ----------
    probabilities : ndarray of float, shape (rows, classes)
    labels : sequence of str, length classes
    top_k : sequence of int, length rows
        How many labels each row's caller asked for.

    Returns
    -------
    list of list of dict
        ``{"label", "probability"}``, most probable first; ties keep the order of the classes.
    """
    order = (-probabilities).argsort(axis=1, kind="stable")[:, : max(top_k)].tolist()  # (rows, most)
    return [
        [{"label": labels[k], "probability": row[k]} for k in best[:most]]
        for best, row, most in zip(order, probabilities.tolist(), top_k, strict=True)
    ]


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities along the last axis, in double precision.

    Parameters
    ----------
    logits : ndarray of float, shape (..., classes)
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def _lower(headers: dict[str, Any]) -> dict[str, str]:
    """Return a request's headers under lower-case names; TorchServe keeps them as they were sent."""
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def _poisons_cuda(error: Exception) -> bool:
    """Tell an error that leaves the CUDA context unusable from one that merely ran out of memory."""
    text = str(error).lower()
    return ("cuda" in text or "cublas" in text or "cudnn" in text) and "out of memory" not in text


def _exit(error: Exception) -> NoReturn:
    """End the worker: after such an error every later request on it would fail too. TorchServe starts a fresh one."""
    logger.critical("unrecoverable CUDA error, ending this worker: %s", error)
    logging.shutdown()
    os._exit(1)

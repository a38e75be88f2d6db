"""The path every request takes through a worker; a family says only what is particular to it.

A family overrides three hooks: `Handler.decode` (one JSON object to one item), `Handler.prepare` (items to the
graph's input arrays) and `Handler.phrase` (the graph's outputs to predictions); and `Handler.summarise` where drift of
its inputs is to be seen. Everything else is here: content
types, options, isolation of bad requests, splitting of failing batches, the self-check at load, and the answer's
form. `handlers.errors` draws the path and its errors.

Per batch this costs one pass over the requests to decode them, one forward pass per group of items, one vectorised
pass over the outputs, and one write to the prediction log where there is one; nothing else is logged.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

import numpy as np
import orjson
from numpy.typing import NDArray

from archives.certificate import check_hashes
from archives.contract import Contract, read_contract
from handlers.answers import Detailed, describe_faults, make_room
from handlers.batch import Batch, Item, Outputs
from handlers.calls import Call, describe_unusual, read_call
from handlers.complaints import Complaints
from handlers.deadline import Deadline
from handlers.decoding import JSON, NPY, media_type, unsupported
from handlers.engine import Engine, open_verified, threads
from handlers.errors import (
    MAX_ANSWER_BYTES,
    AnswerTooLargeError,
    ExpiredError,
    InternalError,
    InvalidError,
    RequestError,
    UndecodableError,
    UnreadableError,
)
from handlers.spool import Answered, Spool
from handlers.summary import by_place
from handlers.torchserve_protocol import read_ahead
from handlers.validation import Unusual

__all__ = ["MAX_EXPLAINED", "MAX_ROWS_EXPLAINED", "Call", "Handler", "Outputs"]

logger = logging.getLogger(__name__)

MAX_EXPLAINED, MAX_ROWS_EXPLAINED = 64, 512
"""Most instances of one request that are explained, and most rows of theirs: an explanation costs a forward pass of its
own, and says something of every row."""

MAX_ID = 128
"""Longest request id, in characters."""

GRAVITY = {InternalError.status: 0, UnreadableError.status: 1}
"""By status, which of several errors answers a request; then comes the first of the others."""


class Handler(ABC, Generic[Item]):
    """What TorchServe loads: one per worker process."""

    content_types: tuple[str, ...] = (JSON,)
    """The content types this family reads; one that names `NPY` overrides `decode_array`."""

    fields: frozenset[str] = frozenset()
    """The JSON fields of one instance."""

    switches: frozenset[str] = frozenset()
    """Optional JSON booleans of a whole request, false by default; a header ``X-NAME: true`` says the same."""

    options: frozenset[str] = frozenset()
    """Further optional JSON fields of a whole request, which `apply_options` reads. They are of one client and one
    version: the prediction log keeps no input that has any, so no shadow is asked it."""

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

    def split_array(self, array: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Return what `decode_array` takes of each instance of a `.npy` body; nothing where it holds one."""
        return ()

    def switched(self, items: list[Item], on: frozenset[str]) -> list[Item]:
        """Return a request's items as the switches that it has on want them; called only where one is on."""
        return items

    def apply_options(self, items: list[Item], options: Mapping[str, Any]) -> list[Item]:
        """Return a request's items as its `options`, of which one is there, want them; raises `RequestError`."""
        return items

    def find_unusual(self, items: Sequence[Item]) -> Sequence[Sequence[Unusual]]:
        """Return for each item of one request what is possible and yet unusual about it; nothing where all is usual."""
        return ()

    @abstractmethod
    def prepare(self, items: Sequence[Item]) -> dict[str, NDArray[Any]]:
        """Return the graph's inputs for a batch of items, the batch axis first."""

    @abstractmethod
    def phrase(self, outputs: Outputs, items: Sequence[Item], top_k: Sequence[int]) -> list[Any]:
        """Return the predictions of every item, given the pass it was in and how many each item's caller asked for.

        One of `handlers.answers.Detailed` has something beside it in the answer.
        """

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

    def summarise(self, items: Sequence[Item], outputs: Outputs) -> NDArray[np.float32]:
        """Return what the prediction log says of each item: numbers under the names of the contract's ``summary``.

        Training makes the archive's `reference.npz` by the same function, so that traffic can be held against it.

        Parameters
        ----------
        items, outputs
            Of one pass.

        Returns
        -------
        ndarray of float32, shape (items, names)
            NaN is a number that an item does not have.
        """
        return np.full((len(items), len(self.contract.summary)), np.nan, np.float32)

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
        gpu: int | None = context.system_properties.get("gpu_id")
        proof = self.load(folder, context.model_yaml_config.get("handler") or {}, gpu)
        self._spool = Spool.from_environment(self.contract.model, self.contract.version)
        self._deadline = Deadline.from_environment()
        self._complaints = Complaints(logger)
        self._batch = Batch(self._complaints, on_gpu=gpu is not None, summarised=self._spool is not None)
        logger.info(
            "%s %s serves on %s, %d thread(s): %s",
            self.contract.model, self.contract.version, self.engine.name, threads(), proof,
        )  # fmt: skip
        read_ahead()
        # TorchServe's worker prints two lines a batch at INFO, each waking the Java process; what they say (a time of
        # receipt, a gauge that mixes versions) is in the gateway's access line, per request and version.
        logging.getLogger().setLevel(logging.WARNING)

    def load(self, folder: Path, settings: Mapping[str, Any], gpu: int | None) -> str:
        """Prove an unpacked archive and make ready what decodes, prepares and phrases; returns the proof.

        Parameters
        ----------
        folder
            The unpacked archive.
        settings
            What its `model-config.yaml` says under ``handler``.
        gpu
            CUDA device of this worker.

        Raises
        ------
        ArchiveError
            If any proof fails.
        """
        check_hashes(folder)
        self.contract = read_contract(folder / "contract.json")
        verified = open_verified(folder, self.contract, gpu)
        self.engine = verified.engine
        self.pass_limit = int(settings.get("pass_limit", 32))
        self.opened(folder)
        return verified.proof

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
        start, now = time.perf_counter(), time.time()
        headers = [_lower(context.get_all_request_header(index)) for index in range(len(data))]
        ids = [_id(head, context, index) for index, head in enumerate(headers)]
        calls: dict[int, Call[Item]] = {}  # by index in the batch, as all of these
        errors: dict[int, RequestError] = {}
        for index, request in enumerate(data):
            decoded = self._decode(request, headers[index], now)
            if isinstance(decoded, RequestError):
                errors[index] = decoded
            else:
                calls[index] = decoded
        results = self._predict(calls)
        took_ms = round((time.perf_counter() - start) * 1e3, 3)
        answers: dict[int, bytes] = {}
        for index, result in results.items():
            answer = self._write(calls[index], result, ids[index], took_ms)
            if isinstance(answer, RequestError):
                errors[index] = answer
            else:
                answers[index] = answer
        errors |= make_room(answers)
        for index in answers:
            for name, value in _count_faults(results[index]).items():
                context.set_response_header(index, name, value)
        if self._spool is not None:
            self._spool.keep(
                [
                    Answered(ids[index], headers[index], call.body, call.many, answer, call.summary)
                    for index, answer in answers.items()
                    for call in (calls[index],)
                ]
            )
        for index, error in errors.items():
            context.set_response_status(code=error.status, phrase=error.code, idx=index)
            for name, value in error.headers.items():
                context.set_response_header(index, name, value)
            answers[index] = orjson.dumps(error.body(ids[index]))
        for index in answers:
            context.set_response_content_type(index, JSON)
        self._deadline.took(time.perf_counter() - start)
        return [answers[index] for index in range(len(data))]

    def _write(
        self, call: Call[Item], result: dict[str, Any] | RequestError, request_id: str, took_ms: float
    ) -> bytes | RequestError:
        """Return an answer's body, or the error that takes its place."""
        if isinstance(result, RequestError):
            return result
        answer = {"model": self.contract.model, "version": self.contract.version, "request_id": request_id}
        if call.session is not None:
            answer["session"] = call.session
        try:
            body = orjson.dumps({**answer, **result, "serving_ms": took_ms})
        except TypeError:  # what JSON cannot say
            self._complaints.log("an answer is no JSON")
            return InternalError()
        return body if len(body) <= MAX_ANSWER_BYTES else AnswerTooLargeError(len(body))

    def _decode(self, one: dict[str, Any], headers: dict[str, str], now: float) -> Call[Item] | RequestError:
        """Turn one request into a call, or into the error that answers it."""
        try:
            if (waited_s := self._deadline.missed(headers.get("x-received"), now)) is not None:
                raise ExpiredError(waited_s, self._deadline.timeout_s)
            body = one.get("body", b"")
            kind = media_type(headers.get("content-type", ""))
            if kind not in self.content_types:
                raise unsupported(headers.get("content-type", ""), self.content_types)
            if coding := headers.get("content-encoding", "").lower().replace("identity", ""):
                raise unsupported(f"{kind}, Content-Encoding: {coding}", self.content_types)
            return read_call(self, body, kind, headers)
        except UndecodableError as error:
            # The gateway gives what came as a form, or without a type, as JSON, and says what it was.
            sent = headers.get("x-sent-type")
            return (unsupported("" if sent == "none" else sent, self.content_types) if sent else error).bare()
        except RequestError as error:
            return error.bare()
        except Exception:
            self._complaints.log("a request could not be decoded, for an unexpected reason")
            return UnreadableError()

    def _predict(self, calls: Mapping[int, Call[Item]]) -> dict[int, dict[str, Any] | RequestError]:
        """Return each call's answer, from as few forward passes as the items allow; the calls are summarised."""
        items = [item for call in calls.values() for item in call.items]
        top_k = [call.top_k for call in calls.values() for _ in call.items]
        predictions, summary = self._batch.predict(self, items, top_k)
        results: dict[int, dict[str, Any] | RequestError] = {}
        start = 0
        for index, call in calls.items():
            end = start + len(call.items)
            results[index] = self._assemble(call, predictions[start:end])
            call.summary = None if summary is None else by_place(summary[start:end], call)
            start = end
        return results

    def _assemble(self, call: Call[Item], predictions: list[Any]) -> dict[str, Any] | RequestError:
        """Return a call's answer: its items' predictions, or the gravest error among them."""
        faults = {
            place: one for place, one in zip(call.places, predictions, strict=True) if isinstance(one, RequestError)
        } | call.faults
        # Where another version stands in for this one, that is asked whether it finds fault too.
        if faults and (call.stand_in or not call.partial):
            return min(faults.values(), key=lambda fault: GRAVITY.get(fault.status, len(GRAVITY)))
        lists = {"predictions": [one.prediction if isinstance(one, Detailed) else one for one in predictions]}
        details = [one if isinstance(one, Detailed) else Detailed(one, {}) for one in predictions]
        for name in dict.fromkeys(name for one in details for name in one.beside):
            lists[name] = [one.beside.get(name) for one in details]
        if call.explain:
            explained = self._explain(call, predictions)
            if isinstance(explained, RequestError):
                return explained
            lists["explanations"] = explained
        if faults:
            total = range(len(call.items) + len(call.faults))
            for name, mine in lists.items():
                known = dict(zip(call.places, mine, strict=True))
                lists[name] = [None if place in faults else known[place] for place in total]
        answer: dict[str, Any] = {name: mine if call.many else mine[0] for name, mine in lists.items()}
        if warnings := describe_unusual(call, [one.unusual for one in details]):
            answer["warnings"] = warnings
        if faults:
            answer["errors"] = describe_faults(faults)
        return answer

    def _explain(self, call: Call[Item], predictions: list[Any]) -> list[Any] | RequestError:
        """Explain each item that was answered."""
        try:
            if len(call.items) > MAX_EXPLAINED:
                raise InvalidError("instances", f"at most {MAX_EXPLAINED} to explain at once", str(len(call.items)))
            if (rows := sum(map(self.rows, call.items))) > MAX_ROWS_EXPLAINED:
                expected = f"at most {MAX_ROWS_EXPLAINED} rows in them to explain at once"
                raise InvalidError("instances" if call.many else "body", expected, str(rows))
            return [
                prediction if isinstance(prediction, RequestError) else self.explain(item)
                for item, prediction in zip(call.items, predictions, strict=True)
            ]
        except RequestError as error:
            return error.bare()
        except Exception:
            self._complaints.log("explaining failed")
            return InternalError()


def _id(headers: dict[str, str], context: Any, index: int) -> str:
    """Return a request's id: the gateway's, else TorchServe's."""
    return headers.get("x-request-id", "")[:MAX_ID] or str(context.get_request_id(index))


def _count_faults(result: dict[str, Any] | RequestError) -> dict[str, str]:
    """Return what the gateway learns of a partial answer: how many instances were refused, and how many failed."""
    if isinstance(result, RequestError) or "errors" not in result:
        return {}
    failed = sum(error["status"] >= 500 for error in result["errors"])
    counts = {"X-Failed-Instances": failed, "X-Refused-Instances": len(result["errors"]) - failed}
    return {name: str(count) for name, count in counts.items() if count}


def _lower(headers: dict[str, Any]) -> dict[str, str]:
    """Return a request's headers under lower-case names; TorchServe keeps them as they were sent."""
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}

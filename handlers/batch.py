"""The items of a batch through the graph: in as few forward passes as they allow, each fault kept to its own item."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from archives.contract import Contract
from handlers.complaints import Complaints
from handlers.engine import Engine
from handlers.errors import InternalError, RequestError, UnreadableError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)
Outputs = dict[str, NDArray[Any]]


class Model(Protocol[Item_contra]):
    """What is needed of a handler here; `handlers.base.Handler` describes each."""

    contract: Contract
    engine: Engine
    pass_limit: int

    def size(self, item: Item_contra) -> int: ...  # noqa: D102
    def rows(self, item: Item_contra) -> int: ...  # noqa: D102
    def prepare(self, items: Sequence[Item_contra]) -> dict[str, NDArray[Any]]: ...  # noqa: D102
    def phrase(self, outputs: Outputs, items: Sequence[Item_contra], top_k: Sequence[int]) -> list[Any]: ...  # noqa: D102
    def unanswered(self, item: Item_contra, top_k: int) -> Any | None: ...  # noqa: D102
    def summarise(self, items: Sequence[Item_contra], outputs: Outputs) -> NDArray[np.float32]: ...  # noqa: D102


class Predicted(NamedTuple):
    """What happened to a batch's items.

    Attributes
    ----------
    predictions
        Of each item, or the `RequestError` in their place.
    summary
        float32 [items, names of the contract's summary]; NaN where an item has no such number, and in the whole row of
        one that has no summary. None where none was asked for.
    """

    predictions: list[Any]
    summary: NDArray[np.float32] | None = None


class Batch:
    """Answers the items of batches, one batch after the other.

    Parameters
    ----------
    complaints
        Where faults are logged.
    on_gpu
        Whether a fault may leave the device unusable; the process ends then.
    summarised
        Whether items are summarised, for the prediction log.
    """

    def __init__(self, complaints: Complaints, on_gpu: bool, summarised: bool = False) -> None:
        self._complaints, self._on_gpu, self._summarised = complaints, on_gpu, summarised

    def predict(self, model: Model[Item], items: Sequence[Item], top_k: Sequence[int]) -> Predicted:
        """Return each item's predictions, and what the log says of the items.

        Parameters
        ----------
        model
            Whose graph answers.
        items, top_k
            Of all requests of the batch, and how many answers the caller of each asked for.
        """
        predictions: list[Any] = [None] * len(items)
        width = len(model.contract.summary) if self._summarised else 0
        summary = np.full((len(items), width), np.nan, np.float32) if width else None
        for group in group_items(model, items):
            mine, most = [items[index] for index in group], [top_k[index] for index in group]
            for index, answer in zip(group, self._predict_group(model, mine, most, group, summary), strict=True):
                predictions[index] = answer
        return Predicted(predictions, summary)

    def _predict_group(
        self,
        model: Model[Item],
        group: Sequence[Item],
        top_k: Sequence[int],
        places: Sequence[int],
        summary: NDArray[np.float32] | None,
    ) -> list[Any]:
        """Answer a group in one pass, and fill its places in the summary; where it fails, halve it."""
        fault: Callable[[], RequestError] = UnreadableError
        try:
            inputs = model.prepare(group)
            fault = InternalError
            outputs = model.engine.run(inputs)
            predictions = model.phrase(outputs, group, top_k)
            if len(predictions) != len(group):
                raise ValueError(f"expected {len(group)} predictions, one per item, got {len(predictions)}")
        except Exception as error:
            if self._on_gpu and _poisons_cuda(error):
                _exit(error)
            if len(group) == 1:
                self._complaints.log("a request failed in the forward pass")
                return [_answer_without_graph(model, group[0], top_k[0], fault)]
            middle = len(group) // 2
            first = self._predict_group(model, group[:middle], top_k[:middle], places[:middle], summary)
            return first + self._predict_group(model, group[middle:], top_k[middle:], places[middle:], summary)
        if summary is not None:
            self._summarise(model, group, outputs, places, summary)
        if all(np.isfinite(output).all() for output in outputs.values()):
            return predictions
        finite = _find_finite(outputs, [model.rows(item) for item in group])
        return [
            prediction if sound else _answer_without_graph(model, item, most, InternalError)
            for prediction, sound, item, most in zip(predictions, finite, group, top_k, strict=True)
        ]

    def _summarise(
        self,
        model: Model[Item],
        group: Sequence[Item],
        outputs: Outputs,
        places: Sequence[int],
        summary: NDArray[np.float32],
    ) -> None:
        """Fill a group's places; where it fails they stay empty, and the answers leave as they are."""
        try:
            rows = model.summarise(group, outputs)
            if rows.shape != (expected := (len(group), summary.shape[1])):
                raise ValueError(f"expected a summary of shape {expected}, got {rows.shape}")
            if places == [*range(len(summary))]:  # numpy is slow to place rows one by one
                summary[:] = rows
            else:
                summary[places] = rows
        except Exception:
            self._complaints.log("items could not be summarised")


def group_items(model: Model[Item], items: Sequence[Item]) -> Iterator[list[int]]:
    """Yield the items' indices in groups whose padded size fits one forward pass, like with like."""
    sizes = [model.size(item) for item in items]
    group: list[int] = []
    group_rows = 0
    # Largest first, so the first member of a group is what the others are padded to.
    for index in sorted(range(len(items)), key=lambda index: -sizes[index]):
        rows = model.rows(items[index])
        if group and sizes[group[0]] * (group_rows + rows) > model.pass_limit:
            yield group
            group, group_rows = [], 0
        group.append(index)
        group_rows += rows
    if group:
        yield group


def _find_finite(outputs: Outputs, rows: Sequence[int]) -> list[bool]:
    """Return for each item, of that many rows of the outputs, whether all its numbers are finite."""
    finite = [np.isfinite(output.reshape(len(output), -1)).all(axis=1) for output in outputs.values()]
    starts = np.cumsum([0, *rows[:-1]])
    sound: list[bool] = np.logical_and.reduceat(np.logical_and.reduce(finite), starts).tolist()
    return sound


def _answer_without_graph(model: Model[Item], item: Item, top_k: int, fault: Callable[[], RequestError]) -> Any:
    """Return what a family answers without its graph, or the error where it has no such answer."""
    answer = None
    with contextlib.suppress(Exception):  # a fallback that fails is none
        answer = model.unanswered(item, top_k)
    return fault() if answer is None else answer


def _poisons_cuda(error: Exception) -> bool:
    """Distinguish an error that leaves the CUDA context unusable from one that merely ran out of memory."""
    text = str(error).lower()
    return ("cuda" in text or "cublas" in text or "cudnn" in text) and "out of memory" not in text


def _exit(error: Exception) -> NoReturn:
    """End the worker: after such an error every later request on it would fail too. TorchServe starts another."""
    logger.critical("unrecoverable CUDA error, ending this worker: %s", error)
    logging.shutdown()
    os._exit(1)

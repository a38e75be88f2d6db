"""What families' answers have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from handlers.errors import MAX_ANSWER_BYTES, CrowdedError, RequestError
from handlers.validation import Unusual


@dataclass(frozen=True)
class Detailed:
    """A prediction, and what an answer has beside its predictions.

    Attributes
    ----------
    prediction
        As `Handler.phrase` otherwise returns it.
    beside
        By the name of a field of the answer, which is a list of them where the request has instances.
    unusual
        What is unusual about the instance, as the graph sees it: warnings besides `Handler.find_unusual`'s.
    """

    prediction: Any
    beside: Mapping[str, Any]
    unusual: Sequence[Unusual] = ()


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


def describe_faults(faults: Mapping[int, RequestError]) -> list[dict[str, Any]]:
    """Return what a partial answer says of the instances that it has no prediction for.

    Parameters
    ----------
    faults : mapping of int to RequestError
        By the instance's place.

    Returns
    -------
    list of dict
        ``{"index", "status", "code", "message"}`` in order of place, and ``field``, ``expected`` and ``received`` where
        a field is to blame; the status is that of a request of this instance alone.
    """
    said = []
    for place in sorted(faults):
        body = faults[place].body("")["error"]
        del body["request_id"]
        said.append({"index": place, "status": faults[place].status_alone, **body})
    return said


def make_room(answers: dict[int, bytes]) -> dict[int, RequestError]:
    """Take the largest out of a batch's answers until they fit into one message of `MAX_ANSWER_BYTES`."""
    total = sum(map(len, answers.values()))
    crowded: dict[int, RequestError] = {}
    while total > MAX_ANSWER_BYTES:
        index = max(answers, key=lambda index: len(answers[index]))
        size = len(answers.pop(index))
        crowded[index] = CrowdedError(size)
        total -= size
    return crowded

"""What is answered where labels are no classes of the model, or truths none that its answer can have.

It says what was expected, and what was probably meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from marina.events.feedback import FeedbackError
from marina.events.known_classes import (
    KnownClasses,
    describe_classes,
    find_nearest,
    read_answered,
    read_known_classes,
)
from marina.events.labels import Label
from marina.events.truths import Answered, Sent, TruthFault, check, describe_form, read_answers


@dataclass(frozen=True)
class UnknownLabel:
    """A label that was not kept.

    Attributes
    ----------
    place
        Its place in the list that was sent, from 0.
    label
        What was sent.
    model, version
        Whose answer it is of; None where the answer is not in the log.
    classes
        What it may be; empty where that is not known.
    nearest
        Which of them was probably meant; of a number whose answer is not there, its digits. None where none is like it.
    fault
        What is wrong with a truth; None of a label.
    wanted
        What a label's model takes in its place, where its answers are no labels; empty where they are.
    """

    place: int
    label: Label
    model: str | None
    version: str | None
    classes: frozenset[str]
    nearest: str | None
    fault: TruthFault | None = None
    wanted: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is answered."""
        sent = {"place": self.place, "request_id": self.label.request_id, "instance": self.label.instance}
        answered = {"model": self.model, "version": self.version, "nearest": self.nearest}
        if self.fault is None:
            return sent | {"label": self.label.label} | answered
        found = {"field": self.fault.field, "expected": self.fault.expected, "received": self.fault.received}
        return sent | found | answered

    def error(self, of: int) -> FeedbackError:
        """Return the error that names it; `of` labels were sent together."""
        others = "; labels with another outcome than unknown need not be sent again" if of > 1 else ""
        prefix = f"labels[{self.place}]." if of > 1 else ""
        if self.fault is not None:
            nearest = f'Send "{self.nearest}" if that is meant' if self.nearest else "Send what the answer is about"
            field, expected, received = prefix + self.fault.field, self.fault.expected, self.fault.received
            return FeedbackError(422, field, expected, received, code="unknown_truth", next_step=f"{nearest}{others}.")
        expected = "a string"
        if self.wanted:
            expected = f'"truth", {self.wanted}'
        elif self.classes:
            expected = f"a class of {self.model} {self.version} ({describe_classes(self.classes)})"
        sent = repr(self.label.label) if len(self.label.label) <= 40 else repr(self.label.label[:40]) + "…"
        received = f"the string {sent}" if self.label.is_text else f"the number {self.label.label}"
        advice = "Send the class as the model writes it in its answers"
        if self.wanted:
            advice = "Send what is true of the answer's parts"
        elif self.nearest is not None:
            advice = f'Send "{self.nearest}" if that is meant'
        field = f"{prefix}label"
        return FeedbackError(422, field, expected, received, code="unknown_label", next_step=f"{advice}{others}.")


def describe_unknown(connection: sa.Connection, labels: Sequence[Label], places: Sequence[int]) -> list[UnknownLabel]:
    """Say of each label at one of these places what was expected in its place.

    Parameters
    ----------
    connection
        To read from.
    labels
        All that were sent together.
    places
        Of those that were not kept, in order.
    """
    answered = read_answered(connection, [labels[place].key for place in places])
    answers = read_answers(connection, [labels[place].key for place in places if labels[place].truth])
    known = read_known_classes(connection, set().union(*answered.values()))
    found = []
    for place in places:
        one = labels[place]
        if one.truth and one.key in answers:
            found.append(_fault(place, one, answers[one.key], known))
            continue
        model, version = min(answered.get(one.key, {(None, None)}), key=str)
        classes = known.of_model((model, version)) if model is not None and version is not None else frozenset()
        nearest = find_nearest(one.label, classes) if classes else (None if one.is_text else one.label)
        kind = known.kind((model, version)) if model is not None and version is not None else None
        wanted = describe_form(kind, f"{model} {version}") if kind not in (None, "label") else ""
        nearest = None if wanted else nearest
        found.append(UnknownLabel(place, one, model, version, classes, nearest, wanted=wanted))
    return found


def _fault(place: int, one: Label, answers: Sequence[Answered], known: KnownClasses) -> UnknownLabel:
    """Say what is wrong with a truth, by the first of the versions that answered."""
    model, version = answers[0].version
    try:
        check(Sent.from_text(one.truth), answers[0], known)
        fault = TruthFault("truth", "a truth of the answer as it was then", "one of the answer as it is now")
    except TruthFault as error:
        fault = error
    return UnknownLabel(place, one, model, version, frozenset(), fault.nearest, fault)

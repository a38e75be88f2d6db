"""From one request's body and headers to a call: its instances as items, and how they are to be answered.

A request of many instances is refused for the first bad one, unless it asks for the others (``"partial": true``, or
``X-Partial: true``): its call then has the good ones as items and an error for each of the others.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from archives.contract import Contract
from handlers.decoding import JSON, Body, decode_json, decode_npy, describe, integer
from handlers.errors import InvalidError, RequestError, UnreadableError
from handlers.malformed_json import NotANumberError, find_constant
from handlers.validation import Unusual, boolean

Item = TypeVar("Item")

PARTIAL = "partial"
IN_PART, MANY, NONE = frozenset({PARTIAL}), frozenset({"instances"}), frozenset[str]()

MOST_WARNINGS = 256
"""Warnings in one answer."""

MAX_SESSION = 128
"""Longest session key, in characters."""


@dataclass
class Call(Generic[Item]):
    """One decoded request.

    Attributes
    ----------
    items
        Its good instances, in order.
    many
        Whether it has a list of instances.
    faults
        By the place of an instance that is not among the items: what is wrong with it. Empty unless the request is
        partial.
    stand_in
        Whether another version is asked in this one's place if it refuses (marina/serving/gateway.py).
    body
        As plain JSON in UTF-8, or as it came; nothing where it has options, and is not to be kept.
    unusual
        What is unusual about each of the items, or nothing where all is usual.
    summary
        What the prediction log says of each instance, float32 [instances, names]; None where it says nothing.
    """

    items: list[Item]
    many: bool
    top_k: int
    session: str | None
    explain: bool
    body: Body
    unusual: Sequence[Sequence[Unusual]] = ()
    partial: bool = False
    stand_in: bool = False
    faults: dict[int, RequestError] = field(default_factory=dict)
    summary: NDArray[np.float32] | None = None

    @property
    def places(self) -> Sequence[int]:
        """Each item's place among the instances."""
        total = range(len(self.items) + len(self.faults))
        return [place for place in total if place not in self.faults] if self.faults else total


class Model(Protocol[Item]):
    """What is needed of a handler here; `handlers.base.Handler` describes each."""

    contract: Contract
    fields: frozenset[str]
    switches: frozenset[str]
    options: frozenset[str]
    default_top_k: int
    max_instances: int

    def decode(self, fields: dict[str, Any]) -> Item: ...  # noqa: D102
    def decode_instances(self, instances: Sequence[dict[str, Any]]) -> list[Item]: ...  # noqa: D102
    def decode_array(self, array: NDArray[Any]) -> Item | list[Item]: ...  # noqa: D102
    def split_array(self, array: NDArray[Any]) -> Sequence[NDArray[Any]]: ...  # noqa: D102
    def switched(self, items: list[Item], on: frozenset[str]) -> list[Item]: ...  # noqa: D102
    def apply_options(self, items: list[Item], options: Mapping[str, Any]) -> list[Item]: ...  # noqa: D102
    def find_unusual(self, items: Sequence[Item]) -> Sequence[Sequence[Unusual]]: ...  # noqa: D102


def read_call(model: Model[Item], body: Body, kind: str, headers: Mapping[str, str]) -> Call[Item]:
    """Read one request.

    Parameters
    ----------
    model
        Whose instances these are.
    body, kind
        What came, and its content type: `JSON`, or else `.npy`.
    headers
        By lower-case name.

    Raises
    ------
    RequestError
        If the request cannot be answered; where it is partial, if that holds for all of its instances alike.
    """
    fields: dict[str, Any] = {}
    faults: dict[int, RequestError] = {}
    if kind == JSON:
        try:
            fields, body = decode_json(body)
        except NotANumberError as error:
            fields = error.value if isinstance(error.value, dict) else {}
            if not ("instances" in fields and _switches(IN_PART, fields, headers)):
                raise
            try:
                body = orjson.dumps(fields, default=_write_constant)
            except TypeError:  # an integer beyond 64 bits
                raise error from None
    many = "instances" in fields
    partial = bool(_switches(IN_PART, fields, headers))
    if kind == JSON:
        session = _check_fields(model, fields, many)
        sent = fields["instances"] if many else None
        items = _instances(model, sent, partial, faults) if many else [model.decode(fields)]
    else:
        session = None
        items, many = _rows(model, decode_npy(body), partial, faults)
    on = _switches(model.switches, fields, headers)
    if on:
        items = _switched(model, items, on, many, partial, faults)
    if options := {name: fields[name] for name in sorted(model.options) if fields.get(name) is not None}:
        items, body = model.apply_options(items, options), b""
    return Call(
        items=items,
        many=many,
        top_k=_top_k(model, fields, headers),
        session=session,
        explain=headers.get("explain") == "True",
        body=body,
        unusual=model.find_unusual(items) if items else (),
        partial=partial and many,
        stand_in=bool(headers.get("x-stand-in")),
        faults=faults,
    )


def _check_fields(model: Model[Item], fields: dict[str, Any], many: bool) -> str | None:
    """Refuse fields that are not known, and return the session's key."""
    known = _known_fields(MANY if many else model.fields, model.switches, model.options)
    if not fields.keys() <= known:
        unknown = min(fields.keys() - known)
        allowed = ", ".join(sorted(known))
        raise InvalidError(unknown[:64], f"only the fields {allowed}", describe(fields[unknown]))
    session = fields.get("session")
    if session is not None and not (isinstance(session, str) and 0 < len(session) <= MAX_SESSION):
        raise InvalidError("session", f"a string of 1 to {MAX_SESSION} characters", describe(session))
    return session


@functools.lru_cache(maxsize=64)
def _known_fields(fields: frozenset[str], switches: frozenset[str], options: frozenset[str]) -> frozenset[str]:
    return fields | switches | options | {"top_k", "session", PARTIAL}


def _instances(model: Model[Item], instances: Any, partial: bool, faults: dict[int, RequestError]) -> list[Item]:
    if not isinstance(instances, list) or not instances:
        raise InvalidError("instances", "a non-empty array of objects", describe(instances))
    if len(instances) > model.max_instances:
        raise InvalidError("instances", f"at most {model.max_instances} objects in one request", str(len(instances)))
    try:
        for index, instance in enumerate(instances):
            _check_instance(model, instance, f"instances[{index}]")
        return model.decode_instances(instances)
    except Exception:
        if not partial:
            raise

    def decode(index: int) -> Item:
        place, instance = f"instances[{index}]", instances[index]
        if (constant := find_constant(instance)) is not None:
            raise NotANumberError(f"{place}.{constant[0]}", constant[1], None)
        _check_instance(model, instance, place)
        try:
            return model.decode(instance)
        except InvalidError as error:
            raise error.inside(place) from None

    return _each(decode, len(instances), faults)


def _check_instance(model: Model[Item], instance: Any, place: str) -> None:
    if type(instance) is not dict:
        raise InvalidError(place, "an object", describe(instance))
    if not instance.keys() <= model.fields:
        unknown = min(set(instance) - model.fields)
        allowed = ", ".join(sorted(model.fields))
        raise InvalidError(f"{place}.{unknown[:64]}", f"only the fields {allowed}", describe(instance[unknown]))


def _rows(
    model: Model[Item], array: NDArray[Any], partial: bool, faults: dict[int, RequestError]
) -> tuple[list[Item], bool]:
    """Return a `.npy` body's items, and whether they are many."""
    try:
        decoded = model.decode_array(array)
        return (decoded, True) if isinstance(decoded, list) else ([decoded], False)
    except InvalidError:
        if not (partial and (parts := model.split_array(array))):
            raise

    def decode(index: int) -> Item:
        try:
            one = model.decode_array(parts[index])
        except InvalidError as error:
            raise error.inside(f"rows[{index}]") from None
        if isinstance(one, list):
            raise UnreadableError
        return one

    return _each(decode, len(parts), faults), True


def _each(decode: Callable[[int], Item], count: int, faults: dict[int, RequestError]) -> list[Item]:
    """Decode instances one by one; add an error for each that cannot be."""
    items = []
    for index in range(count):
        try:
            items.append(decode(index))
        except RequestError as error:
            faults[index] = error.bare()
        except Exception:  # as for a whole request: `handlers.base`
            faults[index] = UnreadableError()
    return items


def _switched(
    model: Model[Item],
    items: list[Item],
    on: frozenset[str],
    many: bool,
    partial: bool,
    faults: dict[int, RequestError],
) -> list[Item]:
    """Switch the items; one that cannot be is named by its place."""
    try:
        return model.switched(items, on) if items else items
    except InvalidError:
        if not many:
            raise
    places = [place for place in range(len(items) + len(faults)) if place not in faults]
    kept = []
    for place, item in zip(places, items, strict=True):
        try:
            kept += model.switched([item], on)
        except InvalidError as error:
            fault = error.inside(f"instances[{place}]")
            if not partial:
                raise fault from None
            faults[place] = fault.bare()
    return kept


def _switches(names: frozenset[str], fields: dict[str, Any], headers: Mapping[str, str]) -> frozenset[str]:
    """Return which of the optional booleans are on: by their field, else by the header ``X-NAME``."""
    asked = [name for name in names if name in fields or f"x-{name}" in headers]
    if not asked:
        return NONE
    said: dict[str, Any] = {name: headers[f"x-{name}"] for name in asked if f"x-{name}" in headers}
    said |= {name: sent.lower() == "true" for name, sent in said.items() if sent.lower() in ("true", "false")}
    return frozenset(name for name in asked if boolean({**said, **fields}, name))


def _write_constant(_: Any) -> None:
    """Write null for what is no JSON."""


def _top_k(model: Model[Item], fields: dict[str, Any], headers: Mapping[str, str]) -> int:
    most = max(1, len(model.contract.labels))
    asked = headers.get("x-top-k")
    if asked is not None and "top_k" not in fields:
        fields = {"top_k": int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else asked}
    return integer(fields, "top_k", min(model.default_top_k, most), 1, most)


def describe_unusual(call: Call[Any], seen: Sequence[Sequence[Unusual]]) -> list[dict[str, str]]:
    """Return a request's warnings, each with the place it is about; of very many the first.

    Parameters
    ----------
    call
        With what is unusual about its items.
    seen
        What the graph saw besides, of each of the items.
    """
    if not any(call.unusual) and not any(seen):
        return []
    sent = call.unusual or [()] * len(seen)
    warnings = [
        {"field": f"instances[{place}].{one.field}" if call.many else one.field, "message": one.message}
        for place, before, after in zip(call.places, sent, seen, strict=True)
        for one in (*before, *after)
    ]
    if (more := len(warnings) - MOST_WARNINGS) > 0:
        warnings[MOST_WARNINGS:] = [{"field": "instances", "message": f"{more} further warnings are not shown"}]
    return warnings

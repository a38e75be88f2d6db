"""The fields of a JSON object, taken one by one and checked: what every family asks of its callers.

Each function returns the field's value, or raises an `InvalidError` that names the field, what was expected and what
came. A field without a default is required; ``null`` counts as absent.
"""

from collections.abc import Collection
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from handlers.decoding import describe
from handlers.errors import InvalidError

Default = TypeVar("Default")

REQUIRED: Final[Any] = object()
"""The default of a field that has none."""


class Unusual(NamedTuple):
    """What is possible and yet unusual about an instance: answered, with a warning."""

    field: str
    message: str


def number(fields: dict[str, Any], name: str, low: float, high: float, default: Default = REQUIRED) -> float | Default:
    """Take a number from `low` to `high`."""
    value: Any = fields.get(name)
    # bool is an int to Python, and no number to a caller; NaN compares false
    if type(value) in (int, float) and low <= value <= high:
        return float(value)
    expected = f"a number from {low:.12g} to {high:.12g}"
    if value is None:
        return _absent(fields, name, expected, default)
    raise InvalidError(name, expected, describe(value))


def boolean(fields: dict[str, Any], name: str) -> bool:
    """Take true or false; false where there is none."""
    value = fields.get(name)
    if value is None:
        return False
    if type(value) is not bool:
        raise InvalidError(name, "true or false", describe(value))
    return value


def text(fields: dict[str, Any], name: str, longest: int, default: Default = REQUIRED) -> str | Default:
    """Take a string of at most `longest` characters; an empty one only where there is a default."""
    value = fields.get(name)
    shortest = 1 if default is REQUIRED else 0
    if type(value) is str and shortest <= len(value) <= longest:
        return value
    expected = f"a string of {shortest} to {longest} characters"
    if value is None:
        return _absent(fields, name, expected, default)
    raise InvalidError(name, expected, f"a string of {len(value)}" if type(value) is str else describe(value))


def choice(fields: dict[str, Any], name: str, allowed: Collection[str], default: Default = REQUIRED) -> str | Default:
    """Take one of the `allowed` strings."""
    value = fields.get(name)
    expected = "one of " + ", ".join(sorted(allowed))
    if value is None:
        return _absent(fields, name, expected, default)
    if type(value) is not str or value not in allowed:
        raise InvalidError(name, expected, describe(value))
    return value


def date(fields: dict[str, Any], name: str, default: Default = REQUIRED) -> np.datetime64 | Default:
    """Take a day, written ``2026-11-21``, from 1900 to 2199."""
    value = fields.get(name)
    expected = "a day such as 2026-11-21"
    if value is None:
        return _absent(fields, name, expected, default)
    # numpy would also read a month, a year, an instant or "NaT"
    if type(value) is str and len(value) == 10 and value.isascii() and value[4] == value[7] == "-":
        try:
            day = np.datetime64(value, "D")
        except ValueError:
            raise InvalidError(name, expected, describe(value)) from None
        if value[:2] in ("19", "20", "21"):
            return day
    raise InvalidError(name, expected, describe(value))


def _absent(fields: dict[str, Any], name: str, expected: str, default: Default) -> Default:
    if default is REQUIRED:
        raise InvalidError(name, expected, "null" if name in fields else "nothing")
    return default

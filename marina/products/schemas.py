"""What bodies of requests may hold: the parts that several routes share."""

import datetime
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_AMOUNT = re.compile(r"[+-]?\d{1,12}(?:[.,]\d{1,2})?")
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ].{1,32})?")

LARGEST_EUR = 1e9


class Body(BaseModel):
    """A JSON object of known fields, of the types that they say."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("expected text without NUL and without halves of surrogate pairs")
    return text


def _amount(given: float | str) -> float:
    if isinstance(given, str):
        bare = given.strip().replace("\u2212", "-")
        if not _AMOUNT.fullmatch(bare):
            raise ValueError('expected a number, or a string such as "-12.50" or "-12,50"')
        given = float(bare.replace(",", "."))
    if not abs(given) <= LARGEST_EUR:
        raise ValueError(f"expected an amount of at most {LARGEST_EUR:g} EUR either way")
    return float(given)


def _day(given: str) -> str:
    """Return the day of a date or an instant, as it is written."""
    if not _INSTANT.fullmatch(given):
        raise ValueError("expected a day such as 2026-11-21, or an instant such as 2026-11-21T10:15:00+01:00")
    day = datetime.date.fromisoformat(given[:10])
    if not 1900 <= day.year < 2200:
        raise ValueError("expected a day from 1900 to 2199")
    return day.isoformat()


Text = Annotated[str, AfterValidator(_storable)]
"""Text that every database takes."""

Name = Annotated[str, Field(max_length=64), AfterValidator(_storable)]

UserId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._@:+-]+$")]
"""Who it is about, as the product calls them."""

Amount = Annotated[float | str, AfterValidator(_amount)]
"""EUR, negative when spent: a number, or a string with a decimal point or comma."""

Day = Annotated[str, Field(max_length=64), AfterValidator(_day)]
"""The day of booking."""

RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


class Transaction(Body):
    """One booking, as the bank writes it."""

    label: Annotated[Text, Field(max_length=4096)] | None = None
    """The bank's own words."""

    amount: Amount
    """EUR, negative when spent."""

    date: Day
    """Day of booking."""

    account: Name | None = None
    user: Name | None = None

    def sent(self) -> dict[str, Any]:
        """Return it as the model takes it."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class ErrorDetail(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="allow")
    code: str
    message: str
    request_id: str


class ErrorBody(BaseModel):
    """The gateway's form of an error."""

    error: ErrorDetail


class ServedModel(BaseModel):
    """Which version of a model answered."""

    version: str
    cache: str
    prediction_id: str


class Served(BaseModel):
    """How an answer came about."""

    request_id: str
    models: dict[str, ServedModel]
    flags: dict[str, bool]


class Reply(BaseModel):
    """What every answer says."""

    model_config = ConfigDict(extra="allow")
    served: Served


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": about}
    for status, about in {
        400: "The body cannot be read.",
        401: "A token is missing.",
        403: "A flag is off, or the page is another site's.",
        404: "There is no such thing here.",
        405: "That method is not allowed here.",
        409: "It contradicts an earlier request.",
        413: "The body is too large.",
        415: "The content type is not supported.",
        422: "A field is not acceptable.",
        429: "Too many requests: try again.",
        500: "The model failed on this request.",
        503: "Something is on its way back: try again.",
        504: "The model took too long.",
    }.items()
}
"""Every answer that is none, for the description of the interface."""

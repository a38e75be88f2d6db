"""The catalogue: one listing, several, or a CSV file of them put into product codes."""

import asyncio
import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import Discriminator, Field, Tag
from starlette.responses import Response

from marina.products.context import Context, call_of, context_of, reply
from marina.products.errors import ProductError
from marina.products.model_server import Call
from marina.products.repeated import Repeatable, allow_repeating
from marina.products.schemas import Body, Reply, Text

MODEL = "catalog"
AT_ONCE = 256
MOST_ROWS = 10_000
MOST_CHARACTERS: Final = {"designation": 20_000, "description": 200_000}
SIDE_BY_SIDE = 4
"""Requests to the model that are under way for one file."""

DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute (OWASP, "CSV injection")."""

REPEATABLE = {"/ml/catalog/classify": Repeatable("/ml/catalog/classify", MODEL)}

router = APIRouter(prefix="/ml/catalog", tags=["catalogue"])


class Listing(Body):
    """One product."""

    designation: Annotated[Text, Field(min_length=1, max_length=MOST_CHARACTERS["designation"])]
    description: Annotated[Text, Field(max_length=MOST_CHARACTERS["description"])] | None = None


class Listings(Body):
    """Several products."""

    listings: Annotated[list[Listing], Field(min_length=1, max_length=AT_ONCE)]


class ListingsReply(Reply):
    """Of each listing its likeliest codes."""

    listings: list[dict[str, Any]]


def _how_many(given: Any) -> str:
    return "many" if ("listings" in given if isinstance(given, dict) else isinstance(given, Listings)) else "one"


OneOrMany = Annotated[Annotated[Listing, Tag("one")] | Annotated[Listings, Tag("many")], Discriminator(_how_many)]
TopK = Annotated[int, Query(ge=1, le=27, description="How many codes of each.")]


@router.post("/classify", responses={200: {"model": ListingsReply}})
async def classify(request: Request, body: OneOrMany, top_k: TopK = 3) -> Response:
    """Put one listing, or each of several, into a product code."""
    listings = body.listings if isinstance(body, Listings) else [body]
    call = call_of(request)
    asked = [one.model_dump(exclude_none=True) for one in listings]
    answer = await context_of(request).server.ask(call, MODEL, {"instances": asked, "top_k": top_k})
    said = [
        {"code": top[0]["label"], "probability": top[0]["probability"], "top": top,
         "request_id": answer.request_id, "instance": index}
        for index, top in enumerate(answer.body["predictions"])
    ]  # fmt: skip
    allow_repeating(request, call)
    return reply(call, {"listings": said})


CSV_BODY = {
    "requestBody": {
        "required": True,
        "content": {"text/csv": {"schema": {"type": "string", "example": "designation,description\nPiscine,\n"}}},
    }
}


@router.post(
    "/csv",
    openapi_extra=CSV_BODY,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The file, answered."}},
    response_class=Response,
)
async def classify_csv(request: Request) -> Response:
    """Put each row of a CSV file into a product code.

    The file has a heading with ``designation`` and, if there is one, ``description``; commas, semicolons or tabs. The
    answer is the same file with ``code``, ``probability``, ``version`` and ``error`` added to each row.
    """
    context, call = context_of(request), call_of(request)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() not in ("text/csv", "application/csv"):
        raise ProductError(415, "unsupported_content_type", "Send the file with the header Content-Type: text/csv.")
    limit, parts, size = context.settings.body_limit_bytes, [], 0
    async for part in request.stream():
        parts.append(part)
        if (size := size + len(part)) > limit:
            raise ProductError(413, "too_large", f"The file is over the limit of {limit} bytes.")
    heading, rows, mark = _read(b"".join(parts))
    answers = await _classify(context, call, heading, rows)
    written = io.StringIO()
    writer = csv.writer(written, delimiter=mark, lineterminator="\n")
    writer.writerow([*heading, "code", "probability", "version", "error"])
    writer.writerows([[_safe(cell) for cell in row] + answer for row, answer in zip(rows, answers, strict=True)])
    headers = {"X-Served-Version": call.models.get(MODEL, {}).get("version", "")}
    return Response(written.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _read(content: bytes) -> tuple[list[str], list[list[str]], str]:
    """Read a file: its heading, its rows, and what parts their cells."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProductError(400, "undecodable", f"The file is no UTF-8: see byte {error.start}.") from None
    if "\0" in text:
        raise ProductError(400, "undecodable", "The file holds NUL characters: it is no CSV text.")
    first = text.split("\n", 1)[0]
    mark = max(",;\t", key=first.count)
    csv.field_size_limit(max(MOST_CHARACTERS.values()))
    try:
        table = [row for row in csv.reader(io.StringIO(text), delimiter=mark, strict=True) if row]
    except csv.Error as error:
        raise ProductError(400, "undecodable", f"The file is no CSV: {error}.") from None
    heading = [name.strip() for name in table[0]] if table else []
    if heading.count("designation") != 1 or len(set(heading)) < len(heading):
        message = "heading: expected one column designation, and no name twice"
        raise ProductError(422, "invalid", message, field="heading")
    if not 1 < len(table) <= MOST_ROWS + 1:
        raise ProductError(422, "invalid", f"rows: expected 1 to {MOST_ROWS}, got {len(table) - 1}", field="rows")
    for number, row in enumerate(table[1:], 2):
        if len(row) != len(heading):
            message = f"row {number}: expected {len(heading)} cells, got {len(row)}"
            raise ProductError(422, "invalid", message, field=f"row {number}")
        for name, cell in zip(heading, row, strict=True):
            if len(cell) > (most := MOST_CHARACTERS.get(name, len(cell))):
                message = f"row {number}, {name}: expected at most {most} characters, got {len(cell)}"
                raise ProductError(422, "invalid", message, field=f"row {number}")
    return heading, table[1:], mark


async def _classify(
    context: Context, call: Call, heading: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Return code, probability, version and error of every row."""
    title = heading.index("designation")
    about = heading.index("description") if "description" in heading else None
    asked = [{"designation": row[title], **({"description": row[about]} if about is not None else {})} for row in rows]
    size, side_by_side = context.settings.ml_batch_size, asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(part: int, begin: int) -> list[list[str]]:
        question = {"instances": asked[begin : begin + size], "top_k": 1, "partial": True}
        async with side_by_side:
            answer = await context.server.ask(call, MODEL, question, part=part)
        errors = {said["index"]: str(said["message"]) for said in answer.body.get("errors", [])}
        return [
            [top[0]["label"], f"{top[0]['probability']:.6f}", answer.version, ""]
            if top
            else ["", "", answer.version, errors.get(index, "no answer")]
            for index, top in enumerate(answer.body["predictions"])
        ]

    parts = await asyncio.gather(*(one(part, begin) for part, begin in enumerate(range(0, len(asked), size))))
    return [row for part in parts for row in part]


def _safe(cell: str) -> str:
    """Return a cell that no spreadsheet computes."""
    return f"'{cell}" if cell.startswith(DANGEROUS) else cell

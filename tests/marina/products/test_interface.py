"""The description of the interface holds: no answer of 5xx, none that it does not describe (schemathesis)."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.core.result import Ok
from starlette.types import Receive, Scope, Send

from tests.marina.products.conftest import Products

EXAMPLES = 5
"""Requests of each route."""

DESCRIBED = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")

ENDLESS = "/api/ml/stream"


def test_no_answer_is_undescribed_or_of_the_servers_fault(products: Products) -> None:
    async def started(scope: Scope, receive: Receive, send: Send) -> None:
        """The application, which is started already."""
        if scope["type"] != "lifespan":
            return await products.app(scope, receive, send)
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    schema = schemathesis.openapi.from_asgi("/openapi.json", started).exclude(path=ENDLESS)
    checks.load_all_checks()
    chosen: list[Any] = [checks.not_a_server_error, *map(checks.CHECKS.get_one, DESCRIBED)]
    asked = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.validate_response(case.call(), checks=chosen)

        ask()
        asked.add(operation.label)
    assert len(asked) >= 20

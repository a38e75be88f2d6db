"""What every route has at hand, and how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from marina.database.connection import Database
from marina.features.store import FeatureStore
from marina.products.errors import ProductError, request_id_of
from marina.products.feature_source import FeatureSource
from marina.products.flags.outcomes import OutcomeWriter
from marina.products.flags.provider import Flags
from marina.products.market_config import MarketConfig
from marina.products.market_feed import Feed
from marina.products.market_stream import Stream
from marina.products.model_server import PASSED_ON, Call, ModelServer
from marina.products.rule_answers import RuleAnswers
from marina.settings import Settings


@dataclass
class Context:
    """The parts of the process."""

    settings: Settings
    database: Database
    flags: Flags
    outcomes: OutcomeWriter
    server: ModelServer
    rules: RuleAnswers
    store: FeatureStore
    features: FeatureSource
    market: MarketConfig
    stream: Stream
    feed: Feed

    def require(self, call: Call, flag: str) -> None:
        """Refuse what a flag switches off.

        Raises
        ------
        ProductError
            With status 403, when it is off.
        """
        if not call.flag(self.flags, flag):
            message = f"{flag} is off. Its operator switches it on: python scripts/flags.py set {flag} on --why …"
            raise ProductError(403, "flag_off", message, flag=flag)


def context_of(request: Request) -> Context:
    """Return the process's parts."""
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


def call_of(request: Request, user: str = "") -> Call:
    """Return the request while it is answered; flags are asked for the user, else the session, else the request."""
    passed = {name: value for name in PASSED_ON if (value := request.headers.get(name))}
    ident = request_id_of(request)
    return Call(ident, passed, user or passed.get("x-user-id", "") or passed.get("x-session-id", "") or ident)


def source_of(request: Request) -> str:
    """Return who the gateway says is asking."""
    return (request.headers.get("x-source") or "unknown")[:64]


def reply(call: Call, body: Mapping[str, Any]) -> Response:
    """Answer, saying how the answer came about."""
    content = orjson.dumps({**body, "served": call.served()})
    return Response(content, media_type="application/json")

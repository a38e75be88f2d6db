"""A question in the same bytes is answered before it is read, and only while its answer is what a model would say."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from anyio.from_thread import start_blocking_portal
from starlette.types import Message, Receive, Scope, Send

from marina.database.connection import Database
from marina.database.tables import DECLARATIONS
from marina.products.context import Context
from marina.products.flags.table import set_flag
from marina.products.live_versions import UNSETTLED_NS
from marina.products.repeated import Repeated
from marina.products.service import application, build_context
from marina.serving.traffic_routes import Routes
from marina.settings import Settings
from models.code_health.features import READS
from tests.marina.products.conftest import Client
from tests.marina.products.gateway import Over

MODEL = "code_risk"
QUESTION = {"features": dict.fromkeys(READS[MODEL], 1.0)}


@dataclass
class Interface:
    """The interface, before a model that answers with its version and how often it was asked."""

    client: Client
    context: Context
    routes: Routes
    version: str = "1.0"
    asked: list[str] = field(default_factory=list)

    def share(self, **parts: float) -> None:
        self.routes.share(MODEL, [(version.replace("v", "") + ".0", part) for version, part in parts.items()])
        time.sleep(2 * UNSETTLED_NS / 1e9)

    def ask(self, body: Any = QUESTION, path: str = "/ml/code/risk", **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers)

    def cache(self, **more: Any) -> str:
        return str(self.ask(**more).json()["served"]["models"][MODEL]["cache"])


@pytest.fixture
def interface(tmp_path: Path) -> Iterator[Interface]:
    url = f"sqlite:///{tmp_path}/marina.db"
    database = Database(url)
    database.upgrade()
    routes = Routes(tmp_path)
    with database.writing() as connection:
        for version in ("1.0", "2.0"):
            connection.execute(
                sa.insert(DECLARATIONS).values(
                    model=MODEL, version=version, archive="none.mar", sha256=version * 8, weight=1.0, input_share=0.0,
                    declared_at=time.time(), signed_by="", workers=0,
                )
            )  # fmt: skip
            routes.declare(MODEL, version)
            routes.open(MODEL, version)
    context = build_context(Settings.model_validate({"state_dir": tmp_path, "database_url": url}), database, tmp_path)

    def model(request: httpx.Request) -> httpx.Response:
        made.asked.append(request.url.path)
        said = {"version": made.version, "predictions": {"value": float(len(made.asked))}, "request_id": "first"}
        return httpx.Response(200, json=said, headers={"X-Model-Version": made.version})

    context.server._gateway = Over(httpx.MockTransport(model))
    app = application(context)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        made = Interface(Client(portal, app), context, routes)
        made.share(v1=1.0)
        yield made
    database.close()


def test_what_comes_again_in_the_same_bytes_is_answered_as_before_under_its_own_id(interface: Interface) -> None:
    context = interface.context
    first, second, third = (interface.ask(**{"X-Request-Id": f"id-{number}"}) for number in range(3))
    assert interface.asked == ["/predictions/code_risk"]
    assert first.json()["served"]["models"][MODEL]["cache"] == "miss"
    assert third.json() == {**second.json(), "served": {**second.json()["served"], "request_id": "id-2"}}
    assert third.json()["served"] == {
        "request_id": "id-2",
        "models": {MODEL: {"version": "1.0", "cache": "memory", "prediction_id": "first"}},
        "flags": {"ml_api_cache": True},
    }
    assert third.headers["content-type"] == "application/json"
    assert context.server.cache.counts["memory", "hit"] == 2 and len(context.server.cache.memory) == 2

    def read(_: object) -> None:
        raise AssertionError("a question was parsed that came again")

    found = context.server.ask
    context.server.ask = read  # type: ignore[method-assign,assignment]
    assert interface.cache() == "memory"
    context.server.ask = found  # type: ignore[method-assign]
    assert interface.ask(path="/ml/code/risk?explain=true").json()["served"]["models"][MODEL]["cache"] == "miss"
    assert interface.ask({"features": {"a": "b"}}).status_code == 422
    assert interface.asked == ["/predictions/code_risk", "/explanations/code_risk"]


def test_nothing_old_is_repeated_after_a_promotion_nor_while_versions_share_the_requests(interface: Interface) -> None:
    assert [interface.cache() for _ in range(3)] == ["miss", "memory", "memory"]
    interface.share(v1=0.5, v2=0.5)
    assert [interface.cache() for _ in range(2)] == ["release", "release"]
    interface.version = "2.0"
    interface.routes.share(MODEL, [("2.0", 1.0)])  # and at once:
    assert interface.ask().json()["model_version"] == "2.0"
    time.sleep(2 * UNSETTLED_NS / 1e9)
    assert [interface.ask().json()["model_version"] for _ in range(3)] == ["2.0"] * 3
    interface.version = "1.0"
    interface.share(v1=1.0)
    assert interface.cache() == "memory"  # the first version's answers are what it would say


def test_the_flag_the_time_and_an_idempotency_key_hold_for_what_is_repeated(interface: Interface) -> None:
    memory, connection = interface.context.server.cache.memory, interface.context.database
    assert [interface.cache() for _ in range(3)] == ["miss", "memory", "memory"]
    keyed = [interface.ask(**{"Idempotency-Key": "k"}) for _ in range(2)]
    assert keyed[0].json() == keyed[1].json() and keyed[1].headers["Idempotent-Replay"] == "true"
    assert interface.ask({"features": {"other": 1.0}}, **{"Idempotency-Key": "k"}).status_code == 409
    clock = memory._monotonic
    memory._monotonic = lambda: clock() + interface.context.market.known.cache_ttl_s + 1
    assert [interface.cache() for _ in range(3)] == ["miss", "memory", "memory"]
    with connection.writing() as written:
        set_flag(written, "ml_api_cache", "test", "no answer is kept", time.time(), share=0.0)
    interface.context.flags.refresh()
    assert [interface.cache() for _ in range(2)] == ["off", "off"]


def test_what_is_no_http_is_passed_on_so_that_the_process_begins(interface: Interface) -> None:
    passed: list[str] = []

    async def next_one(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None: ...

    repeated = Repeated(next_one, interface.context, {})
    for scope in ({"type": "lifespan"}, {"type": "websocket", "path": "/", "headers": []}):
        interface.client.portal.call(repeated, scope, receive, send)
    assert passed == ["lifespan", "websocket"]

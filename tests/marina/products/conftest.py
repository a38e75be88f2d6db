import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from marina.database.connection import Database
from marina.products.context import Context
from marina.products.flags.table import DEFAULTS, set_flag
from marina.products.service import application, build_context
from marina.serving.traffic_routes import Routes
from marina.settings import Settings
from tests.handlers import every
from tests.marina.products.gateway import InProcessGateway, Over, declare

MODELS = (
    "budget_categorizer", "budget_anomaly", "budget_forecast", "market_alerts", "catalog",
    "code_risk", "code_anomaly", "code_bugs", "code_impact", "code_meta",
)  # fmt: skip


class Client:
    """Asks an application in this process, and waits for its answers."""

    def __init__(self, portal: BlockingPortal, app: FastAPI) -> None:
        self.portal = portal
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://products")

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            return await self._http.request(method, path, **more)

        return self.portal.call(ask)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def put(self, path: str, **more: Any) -> httpx.Response:
        return self.request("PUT", path, **more)


@dataclass
class Products:
    """The interface in this process, and what is behind it."""

    client: Client
    app: FastAPI
    context: Context
    gateway: InProcessGateway
    database: Database
    routes: Routes


@pytest.fixture(scope="session", autouse=True)
def _swept() -> Iterator[None]:
    yield
    every.sweep()


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Products]:
    """The interface over SQLite, every flag on, all models real."""
    folder = tmp_path_factory.mktemp("products")
    url = f"sqlite:///{folder}/marina.db"
    database = Database(url)
    database.upgrade()
    yield from serve(folder, database, url)
    database.close()


def serve(folder: Path, database: Database, url: str, **more: object) -> Iterator[Products]:
    """Serve over a database, every flag on, until the generator is closed."""
    with database.writing() as connection:
        for name in DEFAULTS:
            set_flag(connection, name, "test", "all are tried", time.time(), share=1.0)
    routes = Routes(folder)
    for model in MODELS:
        declare(database, routes, model, {"1.0": 1.0})
    settings = Settings.model_validate(
        {"state_dir": folder, "database_url": url, "user_alert_hosts": ["127.0.0.1"], **more}
    )
    context = build_context(settings, database, folder)
    gateway = InProcessGateway(database)
    context.server._gateway = Over(gateway)
    app = application(context)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        yield Products(Client(portal, app), app, context, gateway, database, routes)

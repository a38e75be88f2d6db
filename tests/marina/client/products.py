"""A process of the products' interface as the client meets it: features of repositories, and a stream of alerts."""

import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from archives.errors import MarinaError
from marina.products.feature_routes import routes
from marina.serving.temporary_server import free_ports

GROUPS = {"git": ("changes", "velocity"), "code": ("lines_of_code",), "temporal": ("stability",)}


class StoreAwayError(MarinaError):
    pass


class Rows:
    def __init__(self, known: bool) -> None:
        self.event_times = np.array([1_795_816_800.0 if known else np.nan])

    def record(self, row: int, groups: Iterable[str] | None = None) -> Mapping[str, Mapping[str, Any]]:
        said = {"changes": (31.0, "fresh"), "velocity": (None, "missing"), "lines_of_code": (5200.0, "stale")}
        names = [name for group in groups or GROUPS for name in GROUPS[group]]
        return {name: dict(zip(("value", "state"), said.get(name, (0.5, "fresh")), strict=True)) for name in names}


class Store:
    """Knows one repository."""

    def __init__(self) -> None:
        self.away = 0

    def view(self, view: str) -> Any:
        assert view == "code_health"
        return SimpleNamespace(groups=GROUPS)

    async def get(self, view: str, entities: Sequence[str]) -> Rows:
        if self.away:
            self.away -= 1
            raise StoreAwayError("the store is unavailable")
        return Rows(list(entities) == ["marina"])


ALERT = {"alert_type": "SPIKE_LIKELY", "horizon": "24h", "probability": 0.7, "model_version": "1.0"}


def application(store: Store) -> FastAPI:
    app = FastAPI()
    app.include_router(routes(store, StoreAwayError))

    @app.get("/api/ml/stream")
    async def stream(request: Request) -> StreamingResponse:
        first = int(request.headers.get("last-event-id", "0")) + 1

        async def events() -> AsyncIterator[bytes]:
            yield b"retry: 20\n\n: still here\n\n"
            for number in (first, first + 1):  # and then the connection ends
                said = json.dumps(ALERT | {"probability": 0.7})
                yield f"event: alert\nid: {number}\ndata: {said}\n\n".encode()
            yield b"event: alert\nid: 99\ndata: {torn"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.post("/ml/code/{model}")
    async def code(model: str, body: dict[str, Any]) -> dict[str, Any]:
        assert body == {"repo_id": "marina"}
        served = {"version": "1.0", "cache": "memory", "prediction_id": "an-earlier-one"}
        said = {"request_id": "of-the-product", "models": {"code_risk": served}, "flags": {}}
        return {"model": model, "model_version": "1.0", "predictions": {"value": 0.2, "label": "sound"}, "served": said}

    @app.get("/api/ml/predict")
    async def predict(horizon: str = "4h") -> dict[str, Any]:
        return {"predictions": [ALERT | {"horizon": horizon, "assets_affected": ["BTC"], "severity_estimate": "S2"}]}

    return app


@contextlib.contextmanager
def running(store: Store) -> Iterator[str]:
    [port] = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(application(store), port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)

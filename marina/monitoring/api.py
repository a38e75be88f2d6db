"""Labels and alerts in, metrics out: the process that answers ``/feedback``, ``/metrics`` and ``/alerts``.

    python -m marina.monitoring.api

It is `marina.events.api` with more: ``GET /metrics`` also says how the last answers, archives, processes, disk and GPUs
are; ``POST /alerts`` takes Alertmanager's webhook (marina/monitoring/webhook.py) and answers ``{"open", "ended"}``;
``GET /alerts`` lists the open ones. Beside that it tells people of alerts (marina/monitoring/notifier.py).
"""

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from marina.database.connection import Database
from marina.events import api
from marina.events.metrics import Collect, Metrics
from marina.monitoring import alerts
from marina.monitoring.alert_metrics import collect_alerts, collect_drift, collect_market_tests
from marina.monitoring.answer_metrics import collect_answers
from marina.monitoring.backup_metrics import backups_of
from marina.monitoring.channels import Channel, ChannelError, parse_channel
from marina.monitoring.feature_metrics import collect_features
from marina.monitoring.gpu_metrics import GpuMetrics, find_gpus
from marina.monitoring.loop_metrics import collect_loop
from marina.monitoring.notifier import Notifier, NotifierThread
from marina.monitoring.process_metrics import ProcessMetrics, ProcessTree
from marina.monitoring.product_metrics import collect_products
from marina.monitoring.server_metrics import ArchiveCheck, collect_versions, own_server
from marina.monitoring.shadow_metrics import ShadowMetrics
from marina.monitoring.summary_names import SummaryNames
from marina.monitoring.webhook import WebhookError, read_notices, record_notices
from marina.processes.console import log
from marina.settings import Settings

LARGEST_BODY = 2 * 1024 * 1024


def application(database: Database, settings: Settings) -> Starlette:
    """Return the application."""
    metrics = Metrics(time.time(), collectors(settings))
    routes = [Route("/alerts", _taking(database), methods=["POST"]), Route("/alerts", _listing(database))]
    return api.application(database, settings.log_share, metrics, settings.replica_name, routes)


def collectors(settings: Settings) -> list[Collect]:
    """Return what writes the metrics that come after those of `marina.events.metrics`."""
    names = SummaryNames()
    return [
        lambda connection, _: collect_answers(connection, names),
        collect_alerts,
        collect_drift,
        collect_market_tests,
        collect_loop,
        backups_of(settings),
        collect_features,
        ShadowMetrics().collect,
        collect_products,
        collect_versions,
        ArchiveCheck(settings.state_dir / "declared").collect,
        own_server(settings),
        ProcessMetrics(ProcessTree(os.getppid())).collect,
        GpuMetrics(find_gpus()).collect,
    ]


def _taking(database: Database) -> Callable[[Request], Any]:
    async def take(request: Request) -> Response:
        parts, size = [], 0
        async for part in request.stream():
            parts.append(part)
            if (size := size + len(part)) > LARGEST_BODY:
                return _refusal(request, 413, f"body: at most {LARGEST_BODY} bytes")
        try:
            notices = read_notices(b"".join(parts))
        except WebhookError as error:
            return _refusal(request, 422, str(error))
        opened, ended = await run_in_threadpool(record_notices, database, notices, time.time())
        return JSONResponse({"open": opened, "ended": ended})

    return take


def _listing(database: Database) -> Callable[[Request], Response]:
    def listing(_: Request) -> Response:
        with database.reading() as connection:
            found = [dataclasses.asdict(one) for one in alerts.open_alerts(connection)]
        return JSONResponse({"alerts": found})

    return listing


def _refusal(request: Request, status: int, message: str) -> Response:
    error = {"code": "no_alerts", "message": message, "request_id": request.headers.get("x-request-id", "")}
    return JSONResponse({"error": error}, status)


def _channels(settings: Settings) -> list[Channel]:
    found = []
    for url in settings.notify_urls:
        try:
            found.append(parse_channel(url.get_secret_value()))
        except ChannelError as error:
            _log(f"{error}; it is left out")
    return found


def _log(text: str) -> None:
    log(f"alerts: {text}", sys.stderr)


def _make(database: Database, settings: Settings) -> Starlette:
    notifier = Notifier(database, _channels(settings), _log, f"{settings.replica_name} {os.getpid()}")
    NotifierThread(notifier, _log)
    return application(database, settings)


def main() -> int:
    """Answer until SIGTERM or SIGINT."""
    return api.serve(_make)


if __name__ == "__main__":
    sys.exit(main())

"""The products' interface: budgets, the market, code health, the catalogue. The gateway passes requests on.

    python -m marina.products.service

It listens on ``products.sock`` in the folder that MARINA_RUN_DIR names, and asks models through the gateway. ``GET
/docs`` shows what there is; docs/PRODUCTS.md has a command for each route.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from marina.database.connection import Database, DatabaseError
from marina.features.errors import FeatureStoreAwayError, FeatureStoreError
from marina.features.store import open_store
from marina.processes.console import log
from marina.processes.guard import Guard
from marina.products import budget_routes, catalogue_routes, code_routes, feature_routes, market_routes, user_routes
from marina.products.answer_cache import AnswerCache
from marina.products.context import Context
from marina.products.docs_page import add_docs
from marina.products.errors import add_handlers
from marina.products.feature_source import FeatureSource, StoreFeatures
from marina.products.flags.guard import GuardLoop
from marina.products.flags.outcomes import OutcomeWriter
from marina.products.flags.provider import Flags
from marina.products.idempotency import Idempotency
from marina.products.live_versions import LiveVersions
from marina.products.market_config import MarketConfig
from marina.products.market_feed import LOOK_S, Feed
from marina.products.market_stream import Stream
from marina.products.measures import SAVE_S, Counting, Measures
from marina.products.memory_level import MemoryLevel
from marina.products.model_server import ModelServer
from marina.products.redis_level import RedisLevel
from marina.products.repeated import Repeated
from marina.products.rule_answers import RuleAnswers
from marina.products.schemas import ERRORS
from marina.releases.heads import open_database
from marina.serving.gateway_pool import Gateway
from marina.settings import Settings, read_settings

WAIT_MS = 2000
STOP_S = 2

ABOUT = """One interface for five products. Every answer has `served`: its request id, which version of which model
answered and from where (`rules`, a cache's level, or `miss`), and what each flag said. Refusals have the gateway's
form. A POST or PUT may have an `Idempotency-Key`: sent again, it is answered alike and does nothing again."""


def build_context(
    settings: Settings,
    database: Database,
    run_dir: Path,
    features: FeatureSource | None = None,
) -> Context:
    """Return the process's parts, from the settings."""

    def report_change(why: str | None) -> None:
        log(f"products: Redis {'answers again' if why is None else f'fails ({why}); answers are kept in memory only'}")

    url = settings.ml_cache_redis_url.get_secret_value()
    market = MarketConfig(database, settings.ml_cache_ttl)
    cache = AnswerCache(
        MemoryLevel(settings.ml_cache_bytes),
        RedisLevel(url, report_change) if url else None,
        lambda: market.known.cache_ttl_s,
    )
    asked = Flags.of(database)
    store, stream = open_store(settings, database), Stream()
    return Context(
        settings,
        database,
        asked,
        OutcomeWriter(database),
        ModelServer(Gateway(settings, settings.ml_model_timeout), cache, LiveVersions(run_dir, database), asked),
        RuleAnswers(database, settings.state_dir / "declared"),
        store,
        features or StoreFeatures(store),
        market,
        stream,
        Feed(database, stream),
    )


def application(context: Context, last_call: signal.Signals | None = None) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    last_call
        Has every listener of the stream let go; None where another thread than the main one, which alone is told of
        signals, runs it.
    """
    measures = Measures(context.database, context.settings.replica_name, context.server.cache)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if last_call is not None:
            asyncio.get_running_loop().add_signal_handler(last_call, context.stream.close)
        guards = GuardLoop(context.database)
        for one in (context.flags, context.outcomes, guards):
            one.start()
        await run_in_threadpool(context.rules.look)
        await run_in_threadpool(context.market.read)

        guard = Guard(lambda text: log(f"products: {text}", sys.stderr))

        async def keep_on(what: str, do: Callable[[], Awaitable[None]], every_s: float) -> None:
            while True:
                with guard.part(what):
                    await do()
                await asyncio.sleep(every_s)

        tasks = [
            asyncio.create_task(keep_on("keeping what is counted", partial(run_in_threadpool, measures.save), SAVE_S)),
            asyncio.create_task(keep_on("looking for others' market alerts", context.feed.look, LOOK_S)),
        ]
        try:
            async with context.store:
                yield
        finally:
            context.stream.close()
            for task in tasks:
                task.cancel()
            await context.server.close()
            await run_in_threadpool(measures.save)
            for one in (guards, context.outcomes, context.flags):
                await run_in_threadpool(one.stop)

    app = FastAPI(
        title="Marina: the products' interface",
        version="1",
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
        lifespan=lifespan,
    )
    app.state.context = context
    add_handlers(app)
    add_docs(app)
    for routes in (code_routes, catalogue_routes, budget_routes, user_routes, market_routes):  # the busiest first
        app.include_router(routes.router)
    app.include_router(feature_routes.routes(context.store, FeatureStoreAwayError))
    app.add_middleware(Repeated, context=context, paths={**code_routes.REPEATABLE, **catalogue_routes.REPEATABLE})
    app.add_middleware(Idempotency, database=context.database, largest_body=context.settings.body_limit_bytes)
    app.add_middleware(Counting, measures=measures)
    return app


def main() -> int:
    """Answer until SIGTERM or SIGINT; return the exit status."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is a stream, whose end it asks for
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))  # uvicorn raises it again once nothing is in flight
    settings = read_settings()
    run_dir = Path(os.environ["MARINA_RUN_DIR"])
    try:
        database = open_database(settings, WAIT_MS)
        context = build_context(settings, database, run_dir)
        app: ASGIApp = application(context, signal.SIGUSR1)
    except (DatabaseError, FeatureStoreError) as error:
        log(f"products: {error}", sys.stderr)
        return 1
    uvicorn.run(
        app,
        uds=str(run_dir / "products.sock"),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=STOP_S,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

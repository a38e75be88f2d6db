"""Development, staging and production differ in values only: the same requests are answered alike in all three."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from marina.database.connection import Database
from marina.settings import ROOT, Settings
from tests import postgres
from tests.marina.products import test_products, test_releases
from tests.marina.products.conftest import Products, serve
from tests.marina.products.test_caches import start_redis
from tests.serving import free_ports

ENVIRONMENTS = ("development", "staging", "production")


def values_of(environment: str) -> Settings:
    return Settings(_env_file=ROOT / "deploy" / "environments" / f"{environment}.env")  # type: ignore[call-arg]


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Products]:
    """The interface as that environment's file sets it up, over servers that were started for it."""
    values = values_of(request.param)
    url, more, redis = f"sqlite:///{tmp_path}/marina.db", {}, None
    if values.database_url.get_secret_value():
        server: postgres.Postgres = request.getfixturevalue("postgres_server")
        url = server.fresh(f"t{uuid.uuid4().hex}")
    if values.ml_cache_redis_url.get_secret_value():
        if shutil.which("redis-server") is None:
            pytest.skip("no redis-server: apt-get install redis-server")
        [port] = free_ports(1)
        redis = start_redis(port, tmp_path)
        more = {"ml_cache_redis_url": f"redis://127.0.0.1:{port}/0"}
    database = Database(url)
    database.upgrade()
    try:
        yield from serve(tmp_path, database, url, **more)
    finally:
        database.close()
        if redis is not None:
            redis.kill()
            redis.wait()


def test_the_same_requests_are_answered_alike(environment: Products) -> None:
    test_products.test_what_no_rule_is_sure_of_is_asked_of_the_model(environment)
    test_products.test_odd_transactions_are_found_by_a_users_own_thresholds(environment)
    test_products.test_a_month_is_forecast_with_recommendations_in_both_languages(environment)
    test_products.test_feedback_on_a_transaction_goes_where_its_answer_is(environment)
    test_products.test_the_market_is_predicted_with_the_products_fields(environment)
    test_products.test_settings_of_the_market_change_at_once_and_are_in_the_ledger(environment)
    test_products.test_listings_are_classified_one_many_or_as_a_file(environment)
    test_products.test_a_repeated_key_answers_alike_and_another_body_is_a_conflict(environment)
    test_releases.test_a_promotion_never_serves_an_old_answer(environment)


def test_files_of_environments_hold_settings_that_are_known() -> None:
    known = {f"MARINA_{name.upper()}" for name in Settings.model_fields}
    for name in ENVIRONMENTS:
        lines = (ROOT / "deploy" / "environments" / f"{name}.env").read_text().splitlines()
        set_there = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
        assert set_there and set_there <= known

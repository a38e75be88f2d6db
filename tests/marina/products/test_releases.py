"""What a cache holds is of the version that answers: a promotion never serves an old answer."""

from typing import Any

from marina.products.flags.provider import Flags
from marina.products.flags.table import DEFAULTS, Flag
from tests.families import code_health
from tests.marina.products.conftest import Products
from tests.marina.products.gateway import declare

MODEL = "code_risk"


def ask(products: Products) -> tuple[str, str]:
    """Return which version answered, and from where."""
    body: dict[str, Any] = {"features": code_health.good(MODEL)[0]["features"]}
    answer = products.client.post("/ml/code/risk", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()["served"]["models"][MODEL]
    return said["version"], said["cache"]


def test_a_promotion_never_serves_an_old_answer(products: Products) -> None:
    declare(products.database, products.routes, MODEL, {"1.0": 1.0})
    assert [ask(products) for _ in range(3)] == [("1.0", "miss"), ("1.0", "memory"), ("1.0", "memory")]
    declare(products.database, products.routes, MODEL, {"1.0": 0.5, "2.0": 0.5})
    try:
        for number in range(20):
            products.gateway.version = ("1.0", "2.0")[number % 2]
            assert ask(products) == (products.gateway.version, "release")
        products.gateway.version = "2.0"
        declare(products.database, products.routes, MODEL, {"1.0": 0.0, "2.0": 1.0})
        assert [ask(products) for _ in range(2)] == [("2.0", "miss"), ("2.0", "memory")]
        declare(products.database, products.routes, MODEL, {"1.0": 1.0, "2.0": 0.0})
        assert ask(products) == ("1.0", "memory")
    finally:
        products.gateway.version = "1.0"
        declare(products.database, products.routes, MODEL, {"1.0": 1.0})


def test_a_flag_switches_the_caches_off(products: Products) -> None:
    flags = Flags(lambda: {name: Flag(name, float(name != "ml_api_cache")) for name in DEFAULTS})
    before, products.context.server.flags = products.context.server.flags, flags
    try:
        assert [ask(products)[1] for _ in range(2)] == ["off", "off"]
    finally:
        products.context.server.flags = before

"""Gateways that several modules ask, before a stand-in for what is behind them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.marina.serving.front import CLIENT, LABELLER, OTHER, Front, front


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One gateway, as it is unless anything is set."""
    with front(tmp_path_factory.mktemp("front")) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One gateway with tokens, open to the network under one name."""
    tokens: dict[str, Any] = {"inference_tokens": [CLIENT, OTHER], "feedback_tokens": [LABELLER]}
    limits: dict[str, Any] = {"rate_limit_per_s": 1, "rate_limit_burst": 8}
    opened: dict[str, Any] = {"host": "0.0.0.0", "hosts": ["api.example.org", "*.inner.example.org"]}
    with front(tmp_path_factory.mktemp("guarded"), **tokens, **limits, **opened) as made:
        yield made

"""Techniques that are switched for a whole deployment."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from marina.serving.sidecars import MODULES, chosen
from marina.settings import Settings
from tests.marina.serving.front import Front, front


def reached(made: Front, path: str, **headers: str) -> str | None:
    answer = made.client.post(path, json={}, headers=headers)
    assert answer.status_code == 200
    found: str | None = answer.json()["headers"].get("X-TTA")
    return found


def test_requests_of_a_model_are_augmented_where_the_deployment_says_so_and_they_do_not(tmp_path: Path) -> None:
    with front(tmp_path, tta_models=["echo"]) as made:
        made.routes.open("other", "1.0")
        made.routes.share("other", [("1.0", 1)])
        assert [reached(made, path) for path in ("/predictions/echo", "/explanations/echo/1.0")] == ["true", "true"]
        assert reached(made, "/predictions/echo", **{"X-TTA": "false"}) == "false"
        assert reached(made, "/predictions/other") is None
        assert reached(made, "/predictions/other", **{"X-TTA": "true"}) == "true"


def test_by_default_no_model_is() -> None:
    assert Settings().tta_models == []


def test_a_model_of_no_possible_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="tta_models"):
        Settings.model_validate({"tta_models": ['a" true; } #']})


def test_a_server_that_only_predicts_has_no_address_of_what_it_does_not_offer(tmp_path: Path) -> None:
    with front(tmp_path, interfaces=["live"]) as made:
        paths = ("/console", "/ml/anomaly/score", "/api/ml/stream", "/docs", "/live/")
        assert [made.client.get(path).status_code for path in paths] == [404] * 4 + [503]  # which is starting
        assert chosen(made.settings) == [name for name in MODULES if name not in ("products", "console")]

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archives.store import unpack
from handlers.budget.anomaly import BudgetAnomalyHandler
from handlers.decoding import JSON
from tests.families.budget import history, payment, releases
from tests.handlers.context import Context
from training.packaging.archive import build


class Loaded(BudgetAnomalyHandler):
    folder: Path


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("anomaly")
    unpack(build(releases()["budget_anomaly"], folder).path, folder / "unpacked")
    loaded = Loaded()
    loaded.initialize(Context(folder / "unpacked"))
    loaded.folder = folder / "unpacked"
    return loaded


def ask(handler: Any, body: dict[str, Any], path: str = "predictions") -> Any:
    folder: Path = handler.folder
    context = Context(folder, [{"Content-Type": JSON, "explain": str(path == "explanations")}])
    [answer] = handler.handle([{"body": json.dumps(body).encode()}], context)
    assert context.statuses == [200], answer
    return json.loads(answer)[path]


TWICE = [payment("CARTE 02/03 FNAC PARIS", -89.9, "2026-03-03"), payment("CARTE 03/03 FNAC PARIS", -89.9, "2026-03-04")]


def test_a_duplicate_is_reported_with_the_transaction_that_it_repeats(handler: Loaded) -> None:
    answer = ask(handler, {"transactions": TWICE, "history": history()})
    first, second = answer["transactions"]
    assert second["verdict"] != "normal" and second["score"] > first["score"]
    original = next(one for one in second["reasons"] if one["kind"] == "duplicate")["original"]
    assert original == {"in": "transactions", "index": 0, **TWICE[0]}
    assert answer["reported"] == sum(one["verdict"] != "normal" for one in answer["transactions"])


def test_an_original_in_the_history_is_named_by_its_place_there(handler: Loaded) -> None:
    answer = ask(handler, {"transactions": TWICE[1:], "history": [TWICE[0], *history()]})
    reason = answer["transactions"][0]["reasons"][0]
    assert (reason["kind"], reason["original"]["in"], reason["original"]["index"]) == ("duplicate", "history", 0)


def test_a_reported_transaction_says_what_its_score_were_without_each_part(handler: Loaded) -> None:
    [_, second] = ask(handler, {"transactions": TWICE, "history": history()})["transactions"]
    assert set(second["score_without"]) == {"repetition", "profile", "strangeness"}
    assert second["score_without"]["repetition"] < second["score"] - 0.1


def test_the_order_of_the_request_is_kept_whatever_the_days(handler: Loaded) -> None:
    forward = ask(handler, {"transactions": TWICE, "history": history()})["transactions"]
    backward = ask(handler, {"transactions": TWICE[::-1], "history": history()})["transactions"]
    assert [one["score"] for one in backward] == [one["score"] for one in forward[::-1]]


def test_thresholds_of_the_request_decide(handler: Loaded) -> None:
    body = {"transactions": TWICE, "history": history()}
    score = ask(handler, body)["transactions"][1]["score"]
    for asked, verdict in (({"suspicious": 0, "anomalous": 1}, "suspicious"), ({"anomalous": score}, "anomalous"),
                           ({"suspicious": 1, "anomalous": 1}, "normal")):  # fmt: skip
        answer = ask(handler, {**body, "thresholds": asked})
        assert answer["transactions"][1]["verdict"] == verdict
        assert answer["transactions"][1]["score"] == score
    assert ask(handler, {**body, "thresholds": {"suspicious": 0.9}})["thresholds"]["anomalous"] >= 0.9


def test_a_normal_transaction_comes_without_reasons(handler: Loaded) -> None:
    body = {"transactions": [payment(day="2026-03-05")], "history": history(), "thresholds": {"suspicious": 1}}
    assert ask(handler, body)["transactions"][0]["reasons"] == []


def test_every_feature_gets_its_share_in_an_explanation(handler: Loaded) -> None:
    explained = ask(handler, {"transactions": TWICE, "history": history()}, "explanations")
    assert [set(one["attributions"]) for one in explained["transactions"]] == [set(handler.contract.features)] * 2
    most = max(explained["transactions"][1]["attributions"].items(), key=lambda one: one[1])
    assert most[0] in (
        "twin",
        "twin_similarity",
        "twin_days",
        "twin_difference",
        "burst_merchant",
        "days_since_merchant",
    )


def test_a_user_of_the_most_rows_is_answered(handler: Loaded) -> None:
    days = np.datetime_as_string(np.datetime64("2025-01-01") + np.arange(500) // 2).tolist()
    many = [payment(f"CARTE SHOP {k % 37} {k}", -5 - k % 11, day) for k, day in enumerate(days)]
    answer = ask(handler, {"transactions": [payment(day="2026-01-01")] * 100, "history": many})
    assert len(answer["transactions"]) == 100


def test_psd2_bookings_without_a_label_are_judged_as_plain_ones(handler: Loaded) -> None:
    plain = {"transactions": [payment("", -9.5, "2026-03-05")], "history": history()}
    sent = {**plain, "transactions": [{"amount": "-9,50", "date": "2026-03-05T08:00:00Z"}]}
    assert ask(handler, sent) == ask(handler, plain)


def test_a_habit_of_equal_tickets_is_no_duplicate_and_more_than_the_habit_is(handler: Loaded) -> None:
    days = np.datetime_as_string(np.datetime64("2026-01-05") + np.arange(57), unit="D").tolist()
    tickets = [payment("CARTE RATP TICKET", -2.15, day) for day in days for _ in range(2)]

    def kinds(new: list[dict[str, Any]]) -> list[set[str]]:
        answer = ask(
            handler, {"transactions": new, "history": [*history(), *tickets[:-2]], "thresholds": {"suspicious": 0}}
        )
        return [{reason["kind"] for reason in one["reasons"]} for one in answer["transactions"]]

    assert all("duplicate" not in found for found in kinds(tickets[-2:]))
    many = kinds(tickets[-2:] + tickets[-1:] * 3)
    assert ["duplicate" in found for found in many] == [False, False, True, True, True]


def test_odd_rows_are_named_by_their_place(handler: Loaded) -> None:
    body = {"transactions": [payment(), payment(amount=0)], "history": [payment(amount=12.0)]}
    [answer] = handler.handle([{"body": json.dumps(body).encode()}], Context(handler.folder, [{"Content-Type": JSON}]))
    assert {one["field"] for one in json.loads(answer)["warnings"]} == {"transactions[1].amount", "history[0].amount"}

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from marina.database.connection import Database
from marina.database.tables import EVIDENCE, LABELS, PREDICTIONS
from marina.events import latency_histogram
from marina.rollout.judge.evidence import Counts, Pairs
from marina.rollout.reports.comparison import (
    Comparison,
    Observed,
    Side,
    count_observed,
    describe_archive,
    differences,
    shadow_pairs,
)
from marina.rollout.reports.comparison_page import report, rows, text
from marina.rollout.reports.paired_evaluation import DataError, Question, ask_both, read_questions
from marina.serving.stub_archive import build_stub
from tests.archives.rewrite import members_of, recertified, renamed
from tests.marina.rollout.paired import MODEL, drawn

LABELLER = '''
import json


class Labeller:
    """Says what it is told to, or what it always says."""

    def initialize(self, context):
        self.always = context.model_yaml_config["handler"].get("always")

    def handle(self, data, context):
        said = [self.always or json.loads(bytes(one["body"])).get("say", "") for one in data]
        return [json.dumps({"predictions": [{"label": label, "probability": 1.0}]}).encode() for label in said]
'''


@pytest.fixture
def two(signflow_archive: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return signflow 1.0, and a 2.0 with one label changed and other metrics."""
    members = members_of(signflow_archive)
    changes = renamed(signflow_archive, "signflow", "2.0")
    contract, provenance = json.loads(changes["contract.json"]), json.loads(members["provenance.json"])
    contract |= {"labels": [*contract["labels"][:-1], "a_new_sign"]}
    provenance |= {"metrics": {"accuracy": 0.05, "macro_f1": 0.5}}
    changes |= {"contract.json": json.dumps(contract).encode(), "provenance.json": json.dumps(provenance).encode()}
    return signflow_archive, recertified(signflow_archive, tmp_path / "signflow-2.0.mar", changes)


def test_archives_state_size_proof_metrics_and_contract(two: tuple[Path, Path]) -> None:
    before, after = map(describe_archive, two)
    assert before.archive_bytes == two[0].stat().st_size > before.graph_bytes > 0
    assert 0 <= before.gap <= before.tolerance
    assert (before.metrics["accuracy"], after.metrics["accuracy"]) == (0.03, 0.05)
    assert differences(before.contract, before.contract) == []
    assert differences(before.contract, after.contract) == ["labels new: a_new_sign", "labels gone: sign_31"]


def test_a_tensor_that_changes_is_named(two: tuple[Path, Path]) -> None:
    before = dict(describe_archive(two[0]).contract)
    wider = [{**before["inputs"][0], "dtype": "float64"}, *before["inputs"][1:]]
    assert differences(before, before | {"inputs": wider})[0].startswith(
        f"input {before['inputs'][0]['name']}: float32"
    )


def test_traffic_and_labels_are_summed_over_windows_and_replicas(database: Database) -> None:
    window = {"model": MODEL, "version": "1.0", "requests": 10, "errors": 1}
    counts = latency_histogram.to_json({latency_histogram.bucket(20.0): 9})
    answer = {"model": MODEL, "version": "1.0", "instance": 0, "time": 1.0, "picked": True, "answer": "[]"}
    with database.writing() as connection:
        for replica in ("a", "b"):
            row = window | {"replica": replica, "start": 5, "latencies": counts}
            connection.execute(sa.insert(EVIDENCE), row)
        for number, label in enumerate(["yes", "yes", "no"]):
            connection.execute(sa.insert(PREDICTIONS), answer | {"request_id": f"{number}", "label": "yes"})
            row = {"request_id": f"{number}", "instance": 0, "label": label, "time": 2.0}
            connection.execute(sa.insert(LABELS), row)
    with database.reading() as connection:
        found = count_observed(connection, MODEL, "1.0")
        assert count_observed(connection, MODEL, "9.0") == Observed()
    assert (found.requests, found.errors, found.labelled, found.right) == (20, 2, 3, 2)
    assert found.p50_p95_ms == pytest.approx((20, 20), rel=0.02)


def test_shadow_pairs_count_in_either_direction(database: Database) -> None:
    drawn(database, 400, agree=0.9, labelled=1.0)
    with database.reading() as connection:
        there = shadow_pairs(connection, MODEL, "1.0", "2.0")
        back = shadow_pairs(connection, MODEL, "2.0", "1.0")
        assert shadow_pairs(connection, MODEL, "1.0", "3.0") == Pairs()
    assert there.worse > 0 == there.better
    assert back == Pairs(there.better, there.same, there.worse)


@pytest.mark.parametrize(
    ("pairs", "better", "words"),
    [
        (Pairs(), None, "not shown"),
        (Pairs(4, 90, 6), None, "cannot|no difference"),
        (Pairs(2, 90, 30), True, "It is better"),
        (Pairs(30, 90, 2), False, "It is worse"),
    ],
)
def test_the_verdict_is_mcnemars(pairs: Pairs, better: bool | None, words: str) -> None:
    old, new = (Side(name, None, Observed()) for name in ("a 1.0", "a 2.0"))
    found = Comparison(old, new, pairs, "a test").verdict
    assert found[0] is better
    assert any(word in found[1] for word in words.split("|"))


def test_text_and_page_show_both_sides(two: tuple[Path, Path]) -> None:
    flags = Counts(labelled=100, alarms=40, hits=20)
    seen = Observed(1000, 10, {latency_histogram.bucket(30.0): 990}, 100, 90, flags)
    sides = (
        Side("signflow 1.0", describe_archive(two[0]), seen),
        Side("signflow 2.0", describe_archive(two[1]), Observed()),
    )
    found = Comparison(*sides, Pairs(2, 90, 30), "a test")
    table = {row[0].strip(): row[1:] for row in rows(found)}
    assert table["accuracy"] == ("0.03", "0.05", "+0.02")
    assert table["macro_f1"] == ("-", "0.5", "")
    assert table["failed"] == ("1.000%", "-", "")
    assert table["right"][:2] == ("90.00%", "-")
    assert table["F1 of yes and no"][:2] == ("0.667", "-")
    for made in (text(found), report(found)):
        assert "a_new_sign" in made
        assert "It is better" in made
    assert "<svg" in report(found)


def test_one_sided_knowledge_is_shown_as_such() -> None:
    found = Comparison(Side("a 1.0", None, Observed()), Side("a 2.0", None, Observed()), Pairs(), "")
    assert rows(found) == []
    assert "an archive is missing" in text(found)
    assert "an archive is missing" in report(found)


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"input": {}, "label": "a"}', '{"input": {"x": 1}, "label": 3}'])
def test_a_bad_line_of_data_is_named(line: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"input": {"x": 1}, "label": "a"}\n' + line + "\n")
    with pytest.raises(DataError, match="line 2: expected"):
        read_questions(data)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_both_archives_answer_the_same_requests_on_real_servers(tmp_path: Path) -> None:
    baseline = build_stub(tmp_path, "labels", "1.0", LABELLER)
    candidate = build_stub(tmp_path, "labels", "2.0", LABELLER, {"always": "a"})
    questions = [Question({"say": said}, label) for said, label in (("a", "a"), ("b", "b"), ("b", "a"), ("c", "c"))]
    assert ask_both(baseline, candidate, questions) == Pairs(worse=2, same=1, better=1)

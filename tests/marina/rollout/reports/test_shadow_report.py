import html.parser
import re

import numpy as np
import pytest

from marina.database.connection import Database
from marina.database.tables import SHADOW_PAIRS
from marina.rollout.policy.schema import read_policy
from marina.rollout.reports.shadow_report import conclude, report, summary
from marina.rollout.shadow.pairs import NoPairsError, read, slices
from tests.marina.rollout.paired import MODEL, drawn

POLICY = read_policy()


def test_without_pairs_it_says_how_to_get_some(database: Database) -> None:
    with database.reading() as connection, pytest.raises(NoPairsError, match="shadow start --model signs"):
        read(connection, MODEL)


def test_agreement_failures_and_labels_are_counted(database: Database) -> None:
    pairs = drawn(database, 300, agree=0.9, failed=0.05)
    with database.reading() as connection:
        answers = read(connection, MODEL)
    assert (answers.stable, answers.shadow, len(answers), answers.unanswered) == ("1.0", "2.0", 300, 0)
    assert int(answers.failed.sum()) == sum(pair["status"] != 200 for pair in pairs) > 0
    assert int(answers.agree.sum()) == sum(pair["stable_label"] == pair["shadow_label"] for pair in pairs)
    judged, stable_right, shadow_right = answers.right
    assert int(stable_right.sum()) == int(judged.sum()) > int(shadow_right.sum())
    assert answers.pairs.worse == int((stable_right & ~shadow_right).sum())
    assert answers.pairs.better == 0


def test_pairs_of_another_stable_version_are_left_out(database: Database) -> None:
    drawn(database, 10)
    with database.reading() as connection, pytest.raises(NoPairsError):
        read(connection, MODEL, stable="0.9")


def test_slices_are_by_value_of_words_and_by_quarter_of_numbers(database: Database) -> None:
    drawn(database, 200)
    with database.reading() as connection:
        answers = read(connection, MODEL)
        by_signer = slices(connection, answers, "signer")
        by_length = slices(connection, answers, "length")
        assert slices(connection, answers, "nothing") == slices(connection, answers, "frames") == {}
    assert {name: int(here.sum()) for name, here in by_signer.items()} == {"s0": 100, "s1": 100}
    assert [int(here.sum()) for here in by_length.values()] == [50, 50, 50, 50]
    assert np.logical_or.reduce(list(by_length.values())).all()


@pytest.mark.parametrize(
    ("count", "given", "good", "words"),
    [
        (30, {}, None, "Too early to say: the errors gate needs about"),
        (2000, {}, True, "Fit for a canary: it failed on 0 of 2,000"),
        (2000, {"labelled": 0.0}, True, "not shown yet"),
        (2000, {"failed": 0.05}, False, "Not fit for a canary: it failed on"),
        (2000, {"agree": 0.85, "labelled": 1.0}, False, "Not fit for a canary: of 2,000 labelled answers it lost"),
    ],
)
def test_the_verdict_is_that_of_the_gates(
    database: Database, count: int, given: dict[str, float], good: bool | None, words: str
) -> None:
    drawn(database, count, **({"agree": 0.99} | given))  # type: ignore[arg-type]
    with database.reading() as connection:
        found = conclude(read(connection, MODEL), POLICY)
    assert found.good is good
    assert words in found.sentence


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href") and not (value or "").startswith("#"):
                self.outside.append(value or "")


def test_the_page_is_whole_in_itself_and_shows_what_the_text_says(database: Database) -> None:
    drawn(database, 600, agree=0.9, failed=0.02)
    with database.reading() as connection:
        answers = read(connection, MODEL)
        by_field = {"signer": slices(connection, answers, "signer"), "nothing": slices(connection, answers, "nothing")}
    text, made = summary(answers, by_field, POLICY), report(answers, by_field, POLICY)
    agree = f"{int(answers.agree.sum()) / int(answers.labelled.sum()):.2%}"
    for shown in (agree, "hello", "s1", conclude(answers, POLICY).sentence):
        assert shown in text
        assert shown in made
    tags = Tags()
    tags.feed(made)
    assert tags.outside == []
    assert len(tags.ids) == len(set(tags.ids))
    assert {name for name in re.findall(r"url\(#([^)]+)\)", made)} <= set(tags.ids)
    assert "No kept input has this field" in made
    assert "590" in made


def test_what_clients_sent_cannot_write_into_the_page(database: Database) -> None:
    drawn(database, 5, agree=0.0)
    with database.writing() as connection:
        connection.execute(SHADOW_PAIRS.update().values(shadow_label="<script>alert(1)</script>"))
    with database.reading() as connection:
        made = report(read(connection, MODEL), {}, POLICY)
    assert "<script" not in made
    assert "&lt;script&gt;" in made

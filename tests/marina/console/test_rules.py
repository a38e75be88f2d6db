"""The rules that people edit: checked, tried, kept by version, and put back."""

import json
import sys
import time
from urllib.parse import quote

import pytest
import sqlalchemy as sa
import yaml

from marina.console import people, rule_book
from marina.console.rule_book import RuleBookError
from marina.database.tables import INPUTS
from models.budget.rules import RuleSet, as_mapping
from tests.marina.console.browser import Console

RULE = "name: books-fnac\ncategory: loisirs\nconfidence: 0.95\npriority: 999\nkeywords: [FNAC]\n"
RULES = RuleSet([rule_book.parse_rule(RULE), rule_book.parse_rule(RULE.replace("books-fnac", "other"))])


def _sent(console: Console, label: str, number: int) -> None:
    body = json.dumps({"label": label, "amount": -12.5, "date": "2026-03-04"}).encode()
    row = {"request_id": f"i{number}", "model": rule_book.MODEL, "version": "1.0", "time": time.time()}
    with console.database.writing() as connection:
        connection.execute(sa.insert(INPUTS), row | {"content_type": "application/json", "body": body})


@pytest.mark.slow
def test_a_rule_is_tried_kept_and_put_back(console: Console) -> None:
    for number, label in enumerate(("CARTE 02/03 FNAC PARIS", "PRLV SEPA EDF", "CARTE 02/03 FNAC LYON")):
        _sent(console, label, number)
    mine = console.browser("operator")
    page = f"/console/rules/edit?text={quote(RULE)}"
    text = mine.get(page).text
    assert "of 3 transactions" in text and "FNAC" in text
    form = {"csrf": mine.form_token("/console/rules/save"), "text": RULE, "base": "0", "why": "leisure"}
    saved = mine.request("POST", "/console/rules/save", data=form)
    assert saved.headers["location"] == "/console/rules/history"
    exported = yaml.safe_load(mine.get("/console/rules/export").text)
    assert "books-fnac" in [one["name"] for one in exported["rules"]]
    late = mine.request("POST", "/console/rules/save", data=form)
    assert late.status_code == 409 and "kept meanwhile" in late.text
    back = {"csrf": mine.form_token("/console/rules/restore"), "number": "0", "base": "1", "why": "undo"}
    assert mine.request("POST", "/console/rules/restore", data=back).status_code == 303
    assert "books-fnac" not in mine.get("/console/rules/export").text
    assert [row.action for row in console.rows()][-2:] == ["edit rules", "edit rules"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\ncategory: y", "confidence is missing"),
        ("name: X Y\ncategory: y\nconfidence: 0.5", "expected a-z"),
        ("name: x\ncategory: y\nconfidence: 2", "at most 1"),
        ("name: x\ncategory: y\nconfidence: 0.5\nregex: '('", "regex"),
        ("name: x\ncategory: y\nconfidence: 0.5\nshape: round", "unknown field"),
        ("[1", "not YAML"),
        ("- 1", "expected a mapping"),
        ("a: &a [x, x]\nname: [*a, *a]\ncategory: y\nconfidence: 0.5", "aliases"),
        ("name: 5\ncategory: y\nconfidence: 0.5", "expected a-z"),
        ("[" * 4000, "nested more than"),
        ("name: x\ncategory: y\nconfidence: 1" + 400 * "0", "too large"),
        ("name: x\ncategory: y\nconfidence: 0.5\ndays: [1]", "index out of range"),
        ("name: !!bool x", "not YAML"),
        ("name: !!timestamp x", "not YAML"),
        ('name: !!int ""', "not YAML"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_as_one_types(shared: Console, text: str, said: str) -> None:
    mine = shared.browser("operator")
    assert said in mine.get(f"/console/rules/check?text={quote(text)}").text
    assert said in mine.get(f"/console/rules/edit?text={quote(text)}").text


def test_viewers_read_rules_and_try_none(shared: Console) -> None:
    mine = shared.browser("viewer")
    assert "readonly" in mine.get("/console/rules/edit?name=cash-withdrawal").text
    for page in ("check", "edit"):
        assert mine.get(f"/console/rules/{page}?text={quote(RULE)}").status_code == 403


def test_a_regex_that_never_ends_is_given_up(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(RuleBookError, match="compiling the regex took longer than"):
        patch.setattr(rule_book, "REGEX_S", 0.3)
        rule_book.parse_rule(RULE + "regex: " + r"(?i:[\u0100-\uffff])" * 150 + "\n")
    monkeypatch.setattr(rule_book, "TRIAL_S", 1.0)
    _sent(console, "CARTE " + "A" * 60, 0)
    endless = RuleSet([rule_book.parse_rule(RULE + "regex: (A|A)+[B]\n")])
    with console.database.reading() as connection:
        lately = rule_book.kept(connection, time.time())
    with pytest.raises(RuleBookError, match="1 transactions and on long ones took longer"):
        rule_book.try_on(lately, RULES, endless)


def test_a_regex_that_never_ends_is_not_kept_though_no_label_shows_it(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_book, "TRIAL_S", 1.0)
    small = rule_book.write(list(map(as_mapping, RULES.rules)))
    rule_book.save(console.database, small, people.Person("ada", "operator", 1.0, "test", None, 0.0), "x", 1.0, 0)
    mine = console.browser("operator")
    sent = {"csrf": mine.form_token("/console/rules/save"), "name": "books-fnac", "base": "1", "why": "x"}
    sent["text"] = RULE + "regex: (A|A)+[B]\n"
    saved = mine.request("POST", "/console/rules/save", data=sent)
    text = rule_book.write([yaml.safe_load(RULE + "regex: (Q+ ?)+!\n")])
    taken = mine.submit("/console/rules", "/console/rules/import", text=text, base="1", why="x")
    # As one was kept before regexes had a time limit.
    rule_book.save(console.database, text, people.Person("ada", "operator", 1.0, "test", None, 0.0), "x", 1.0, 1)
    before, where = len(console.rows()), "/console/rules/restore"
    with monkeypatch.context() as patch:
        patch.setattr(rule_book, "TRIAL_S", 60.0)  # that of rules that end
        assert mine.submit("/console/rules/history", where, number="1", base="2", why="way out").status_code == 303
    put_back = mine.submit("/console/rules/history", where, number="2", base="3", why="x")
    for answer in (saved, taken, put_back):
        assert answer.status_code == 409 and "on long ones took longer" in answer.text
    assert len(console.rows()) == before + 1


def test_a_regex_that_ends_the_process_that_compiles_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(rule_book, "COMPILE", (sys.executable, "-I", "-S", "-c", killed))
    rule = RULE + "regex: FNAC\n"
    with pytest.raises(RuleBookError, match="ended by signal 9"):
        rule_book.parse_rule(rule)
    with pytest.raises(RuleBookError, match="ended by signal 9"):
        rule_book.parse_rules(rule_book.write([yaml.safe_load(rule)]))


def test_a_rule_takes_no_name_that_another_has() -> None:
    with pytest.raises(RuleBookError, match="the name is taken"):
        rule_book.with_rule(RULES, rule_book.parse_rule(RULE), "")
    with pytest.raises(RuleBookError, match="the name is taken"):
        rule_book.with_rule(RULES, rule_book.parse_rule(RULE), "other")
    kept = rule_book.read_rules(rule_book.with_rule(RULES, rule_book.parse_rule(RULE), "books-fnac"))
    assert {one.name for one in kept.rules} == {"books-fnac", "other"}


def test_rules_are_searched(shared: Console) -> None:
    text = shared.browser("viewer").get("/console/rules?q=cash-with").text
    assert "cash-withdrawal" in text and "bank-fee" not in text


def test_an_import_with_mistakes_changes_nothing(console: Console) -> None:
    before = len(console.rows())
    mine = console.browser("operator")
    answer = mine.submit(
        "/console/rules", "/console/rules/import", text="version: 1\nrules: [{name: x}]", base="0", why="x"
    )
    assert answer.status_code == 409 and "category is missing" in answer.text and len(console.rows()) == before

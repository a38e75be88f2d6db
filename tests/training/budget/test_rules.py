import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from marina.settings import ROOT
from models.budget.rules import RuleSet
from training.budget.categorizer.rules import RulesError, parse, read, to_json, to_yaml
from training.budget.categorizer.rules_report import SURE, measure, problems
from training.budget.synthetic.accounts import CATEGORIES, Synthesis, generate

HEAD = "version: 1\nrules:\n"
GOOD = "{name: a, category: sante, confidence: 1, keywords: [B]}"


def one(**fields: str | None) -> str:
    """Return a file of one rule; a field of None is left out."""
    stated = {"name": "a", "category": "sante", "confidence": "0.9", "keywords": "[PHARMA*]", **fields}
    return (
        HEAD + "  - " + "\n    ".join(f"{name}: {value}" for name, value in stated.items() if value is not None) + "\n"
    )


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return read(categories=CATEGORIES)


def test_there_are_enough_rules_and_none_is_in_anothers_way(rules: RuleSet) -> None:
    assert len(rules.rules) >= 50
    assert len({rule.category for rule in rules.rules}) >= 20
    assert problems(rules) == []


def test_they_cover_and_are_right_on_accounts_they_were_not_written_by(rules: RuleSet) -> None:
    report = measure(rules, generate(Synthesis(users=15, months=12, seed=11)))
    assert report.coverage > 0.65 and report.precision > 0.9, report.markdown()
    assert report.sure_precision > 0.95 and report.sure_coverage > 0.55, report.markdown()


@pytest.mark.parametrize("form", [to_yaml, to_json])
def test_rules_survive_export_and_import(rules: RuleSet, form: Callable[[RuleSet], str]) -> None:
    assert parse(form(rules)).rules == rules.rules


def test_keywords_are_read_in_any_case_and_with_accents() -> None:
    assert parse(one(keywords='[Café*, "L\'Été"]')).rules[0].keywords == ("CAFE*", "L ETE")


@pytest.mark.parametrize(
    ("text", "line", "name", "message"),
    [
        ("", 1, "", "expected a mapping"),
        ("rules: []", 1, "", "version: expected 1, got nothing"),
        (f"version: 2\nrules: [{GOOD}]", 1, "", "version: expected 1, got 2"),
        ("version: 1\nrules: []", 2, "", "rules: expected a list of at least one rule"),
        (f"version: 1\nrule: []\nrules: [{GOOD}]", 2, "", "unknown field 'rule'"),
        (HEAD + "  - just words", 3, "", "expected a mapping that states one rule"),
        (HEAD + "  - [", 3, "", "not YAML"),
        (one(name=None), 3, "", "name is missing"),
        (one(category=None), 3, "a", "category is missing"),
        (one(keyword="[A]"), 7, "a", "unknown field 'keyword'"),
        (one(name="Ä b"), 3, "Ä b", "name: expected a name of a-z"),
        (one(category="pharmacie"), 4, "a", "category: expected one of abonnements"),
        (one(confidence="1.5"), 5, "a", "confidence: expected a number from 0 to 1, got 1.5"),
        (one(confidence="true"), 5, "a", "confidence: expected a number from 0 to 1, got True"),
        (one(keywords="[]"), 6, "a", "keywords: expected a list of phrases"),
        (one(keywords="[NO]"), 6, "a", "quote what YAML takes for a number or a truth value"),
        (one(keywords="['*']"), 6, "a", "keywords: expected letters or digits in every phrase"),
        (one(keywords=None), 3, "a", "it fires on everything"),
        (one(regex="'('"), 7, "a", "regex: expected a regular expression (missing )"),
        (one(regex="'A*'"), 7, "a", "does not match the empty text"),
        (one(operations="[carte]"), 7, "a", "operations: expected a list among other, card"),
        (one(sign="'-'"), 7, "a", "sign: expected spent or received, got '-'"),
        (one(amount="[20, 10]"), 7, "a", "amount: expected [from, below]"),
        (one(days="[0, 3]"), 7, "a", "days: expected [first, last]"),
        (one(months="[13]"), 7, "a", "months: expected a list of integers from 1 to 12"),
        (one(priority="1e3"), 7, "a", "priority: expected an integer"),
        (one() + f"  - {GOOD}", 7, "a", "the name is taken by line 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_rule_and_line(text: str, line: int, name: str, message: str) -> None:
    with pytest.raises(RulesError) as error:
        parse(text, "mine.yaml", CATEGORIES)
    assert any((fault.line, fault.rule) == (line, name) and message in fault.message for fault in error.value.faults), (
        error.value
    )
    assert f"mine.yaml: line {line}:" in str(error.value)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(RulesError) as error:
        parse(one(confidence="2", sign="none") + "  - {name: b}\n")
    assert [fault.line for fault in error.value.faults] == [5, 7, 8, 8]


@pytest.mark.parametrize(
    ("second", "found"),
    [
        ("keywords: [PHARMACIE]", "shadowed"),  # what it says begins as the first one's does
        ("keywords: [PHARMACIE DU PORT]", "shadowed"),
        ("keywords: [PHARMACIE, DOCTEUR]", ""),
        ("keywords: [PHARMA]", "shadowed"),
        ("keywords: [PHAR*]", ""),
        ("keywords: [PHARMACIE], priority: 10", ""),
        ("keywords: [PHARMACIE], sign: spent", "shadowed"),
        ("keywords: [PHARMACIE DU PORT], category: loisirs, confidence: 0.9", "shadowed"),
        ("keywords: [PHARMACIE, TABAC], category: loisirs", "conflict"),
        ("keywords: [PHARMACIE, TABAC], category: loisirs, priority: -1", ""),
    ],
)
def test_shadows_and_conflicts_are_found(second: str, found: str) -> None:
    category = "" if "category" in second else ", category: sante"
    confidence = "" if "confidence" in second else ", confidence: 0.5"
    text = one() + f"  - {{name: b, {second}{category}{confidence}}}\n"
    assert [problem.kind for problem in problems(parse(text))] == ([found] if found else [])


def test_a_narrower_first_rule_shadows_nothing() -> None:
    text = (
        one(amount="[0, 10]", priority="5") + "  - {name: b, category: sante, confidence: 0.5, keywords: [PHARMACIE]}\n"
    )
    assert problems(parse(text)) == []


def test_a_report_counts_firings_answers_and_right_ones() -> None:
    frame = generate(Synthesis(users=3, months=3, seed=5))
    report = measure(parse(one() + "  - {name: cash, category: sante, confidence: 0.95, operations: [cash]}\n"), frame)
    cash = next(one for one in report.rules if one.rule.name == "cash")
    assert cash.fired == cash.answered == (frame["category"] == "retraits").sum() and cash.right == 0
    assert cash.overconfident and "claims too much" in report.markdown()
    assert report.sure_coverage <= report.coverage and SURE <= 0.95


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "scripts" / "budget_rules.py"), *arguments]
    return subprocess.run(script, capture_output=True, text=True, check=False)


def test_the_command_checks_exports_and_names_a_mistake(tmp_path: Path) -> None:
    good, bad = tmp_path / "rules.json", tmp_path / "bad.yaml"
    done = command("export", "--to", str(good))
    assert done.returncode == 0 and "rules in" in done.stdout
    assert command("check", "--rules", str(good)).stdout.endswith("0 problems\n")
    bad.write_text(one(sign="up"))
    done = command("check", "--rules", str(bad))
    assert done.returncode == 1 and "bad.yaml: line 7: rule 'a': sign:" in done.stdout
    assert command("check", "--rules", str(tmp_path / "none.yaml")).returncode == 2

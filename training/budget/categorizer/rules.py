"""The rules as data: read and validated with the line of every mistake, exported, and reported on.

::

    budget_rules.yaml ─ read ─> rules ─┬─> rule set, served in the archive
                                       ├─> YAML or JSON
                                       └─ budget_rules_report ─> shadows and conflicts; coverage and precision

`scripts/budget_rules.py` does each from a command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from archives.errors import MarinaError
from models.budget.labels import OPERATIONS, plain
from models.budget.rules import Rule, RuleSet, as_mapping, from_mapping

FILE: Final = Path(__file__).with_name("rules.yaml")
"""The rules that are trained and served with."""

VERSION: Final = 1
"""Of the file's format."""

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIELDS: Final = frozenset(Rule.__dataclass_fields__)


@dataclass(frozen=True)
class RuleFault:
    """One mistake: the line (from 1), the rule's name or "", and what is wrong."""

    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        """Return it in one line."""
        return f"line {self.line}: " + (f"rule {self.rule!r}: " if self.rule else "") + self.message


class RulesError(MarinaError, ValueError):
    """A rules file has mistakes; the message lists each with its line."""

    def __init__(self, file: str, faults: Sequence[RuleFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{file}: {fault}" for fault in faults))


def read(path: Path = FILE, categories: Collection[str] = ()) -> RuleSet:
    """Read rules from YAML or JSON.

    Parameters
    ----------
    path
        The file.
    categories
        Those that rules may say; any if empty.

    Raises
    ------
    RulesError
        If anything is wrong, with every mistake by rule and line.
    FileNotFoundError
        If there is no such file.
    """
    return parse(path.read_text(encoding="utf-8"), path.name, categories)


def parse(text: str, file: str = "rules", categories: Collection[str] = ()) -> RuleSet:
    """Read rules from the text of a file; JSON is YAML, too. Raises as `read` does."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise RulesError(file, [RuleFault(line, "", f"not YAML: {error.problem or error.context}")]) from None
    nodes, faults = _rule_nodes(root)
    rules: list[Rule] = []
    lines: dict[str, int] = {}
    for node in nodes:
        rule, wrong = _rule(node, categories)
        faults += wrong
        if rule is not None and rule.name in lines:
            faults.append(RuleFault(_line(node), rule.name, f"the name is taken by line {lines[rule.name]}"))
        elif rule is not None:
            lines[rule.name] = _line(node)
            rules.append(rule)
    if faults:
        raise RulesError(file, sorted(faults, key=lambda fault: fault.line))
    return RuleSet(rules)


def to_yaml(rules: RuleSet) -> str:
    """Return rules as YAML, by rank; `parse` reads them back."""
    listed = [as_mapping(rule) for rule in rules.rules]
    return str(yaml.safe_dump({"version": VERSION, "rules": listed}, sort_keys=False, width=120, allow_unicode=True))


def to_json(rules: RuleSet) -> str:
    """Return rules as JSON, by rank; `parse` reads them back."""
    return json.dumps({"version": VERSION, "rules": [as_mapping(rule) for rule in rules.rules]}, indent=1) + "\n"


def _rule_nodes(root: Any) -> tuple[list[Any], list[RuleFault]]:
    if not isinstance(root, yaml.MappingNode):
        return [], [RuleFault(1, "", "expected a mapping with 'version' and 'rules'")]
    top = {key.value: value for key, value in root.value}
    faults = [
        RuleFault(_line(key), "", f"unknown field {key.value!r}; fields are version, rules")
        for key, _ in root.value
        if key.value not in ("version", "rules")
    ]
    if "version" not in top or top["version"].value != str(VERSION):
        came = top["version"].value if "version" in top else "nothing"
        faults.append(RuleFault(_line(top.get("version", root)), "", f"version: expected {VERSION}, got {came}"))
    rules = top.get("rules")
    if not isinstance(rules, yaml.SequenceNode) or not rules.value:
        faults.append(RuleFault(_line(rules or root), "", "rules: expected a list of at least one rule"))
        return [], faults
    return rules.value, faults


def _rule(node: Any, categories: Collection[str]) -> tuple[Rule | None, list[RuleFault]]:
    """Return the rule that a node states, or what is wrong with it."""
    if not isinstance(node, yaml.MappingNode):
        return None, [RuleFault(_line(node), "", "expected a mapping that states one rule")]
    lines = {key.value: _line(key) for key, _ in node.value}
    raw = _construct(node)
    name = raw.get("name") if isinstance(raw.get("name"), str) else ""
    faults = [
        RuleFault(lines[field], str(name), f"unknown field {field!r}; fields are {', '.join(sorted(_FIELDS))}")
        for field in raw
        if field not in _FIELDS
    ]
    faults += [
        RuleFault(_line(node), str(name), f"{field} is missing")
        for field in ("name", "category", "confidence")
        if field not in raw
    ]
    for field, value in raw.items():
        if (check := _CHECKS.get(field)) is not None and (wrong := check(value)):
            faults.append(RuleFault(lines[field], str(name), f"{field}: expected {wrong}, got {value!r}"))
    if not faults and categories and raw["category"] not in categories:
        known = ", ".join(sorted(categories))
        faults.append(
            RuleFault(lines["category"], str(name), f"category: expected one of {known}; got {raw['category']!r}")
        )
    if not faults and not set(raw) & {"keywords", "regex", "operations"}:
        faults.append(
            RuleFault(_line(node), str(name), "expected keywords, a regex or operations: it fires on everything")
        )
    if faults:
        return None, faults
    if "keywords" in raw:
        raw["keywords"] = [_plain(keyword) for keyword in raw["keywords"]]
    return from_mapping(raw), []


def _construct(node: Any) -> dict[str, Any]:
    loader = yaml.SafeLoader("")
    try:
        return {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}
    finally:
        loader.dispose()


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _plain(keyword: str) -> str:
    """Return a keyword as cleaned labels write it."""
    star = "*" if keyword.endswith("*") else ""
    return plain(keyword.rstrip("*")) + star


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _check_name(value: Any) -> str:
    good = isinstance(value, str) and len(value) <= 64 and _NAME.fullmatch(value)
    return "" if good else "a name of a-z, 0-9 and - (at most 64)"


def _check_category(value: Any) -> str:
    return "" if isinstance(value, str) and value else "the name of a category"


def _check_confidence(value: Any) -> str:
    return "" if _number(value, 0, 1) else "a number from 0 to 1"


def _check_priority(value: Any) -> str:
    return "" if type(value) is int and _number(value, -1000, 1000) else "an integer from -1000 to 1000"


def _check_keywords(value: Any) -> str:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        return "a list of phrases (quote what YAML takes for a number or a truth value)"
    empty = [one for one in value if not _plain(one).rstrip("*")]
    return f"letters or digits in every phrase, not {empty[0]!r}" if empty else ""


def _check_regex(value: Any) -> str:
    if not isinstance(value, str) or not value:
        return "a regular expression"
    try:
        return "a regular expression that does not match the empty text" if re.compile(value).search("") else ""
    except re.error as error:
        return f"a regular expression ({error})"


def _check_operations(value: Any) -> str:
    good = isinstance(value, list) and value and set(map(str, value)) <= set(OPERATIONS)
    return "" if good else f"a list among {', '.join(OPERATIONS)}"


def _check_sign(value: Any) -> str:
    return "" if value in ("spent", "received") else "spent or received"


def _check_amount(value: Any) -> str:
    expected = "[from, below] in EUR with 0 <= from < below, null for no bound above"
    if not isinstance(value, list) or len(value) != 2 or not _number(value[0], 0, 1e9):
        return expected
    return "" if value[1] is None or (_number(value[1], 0, 1e9) and value[0] < value[1]) else expected


def _check_days(value: Any) -> str:
    good = isinstance(value, list) and len(value) == 2 and all(type(day) is int for day in value)
    return "" if good and 1 <= value[0] <= value[1] <= 31 else "[first, last] days of a month, from 1 to 31"


def _list(low: int, high: int) -> Any:
    def check(value: Any) -> str:
        good = isinstance(value, list) and value and all(type(one) is int and low <= one <= high for one in value)
        return "" if good else f"a list of integers from {low} to {high}"

    return check


_CHECKS: Final[dict[str, Any]] = {
    "name": _check_name,
    "category": _check_category,
    "confidence": _check_confidence,
    "priority": _check_priority,
    "keywords": _check_keywords,
    "regex": _check_regex,
    "operations": _check_operations,
    "sign": _check_sign,
    "amount": _check_amount,
    "days": _check_days,
    "months": _list(1, 12),
    "weekdays": _list(0, 6),
}

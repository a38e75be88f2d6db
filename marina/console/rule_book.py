"""The rules that categorise bank labels, as people edit them: checked, tried on what came in lately, kept by version.

The first version is the project's file. A version is what the next training of the categorizer is to be given; what
serves meanwhile is its archive's own. Checks with lines are those of ``scripts/budget_rules.py check``.
"""

import functools
import hashlib
import json
import re
import string
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
import yaml

from archives.errors import MarinaError
from marina.console.people import Person
from marina.database.connection import Database
from marina.database.console_tables import RULE_VERSIONS
from marina.database.tables import INPUTS
from marina.releases import ledger
from marina.settings import ROOT
from models.budget.rules import Rule, RuleSet, as_mapping, from_mapping

MODEL: Final = "budget_categorizer"
FILE: Final = ROOT / "training" / "budget" / "categorizer" / "rules.yaml"
FORMAT: Final = 1
DAYS_S: Final = 14 * 86_400.0
MOST_INPUTS, EXAMPLES = 2_000, 20
CHECK_S: Final = 60.0
TRIAL_S: Final = 20.0
REGEX_S: Final = 5.0
COMPILE: Final = (sys.executable, "-I", "-S", "-c", "import json, re, sys; [*map(re.compile, json.load(sys.stdin))]")
LONG: Final = (*(f"{60 * letter} A1" for letter in string.ascii_uppercase), 60 * "AB ", 40 * "A1B ", "ABCDEFGH" * 20)
"""Labels that no one writes, on which rules have to end too."""

LONGEST_MESSAGE: Final = 4_000
DEEPEST: Final = 20
NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NOT_YAML: Final = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What its reader raises; of tags that do not fit what they stand before, any of these."""

WHOLE: Final = re.compile(r"\d+ rules for \d+ categories, \d+ problems")


class RuleBookError(MarinaError):
    """Rules have mistakes; the message names them, and is cut where it is long."""

    def __init__(self, message: str) -> None:
        super().__init__(message[:LONGEST_MESSAGE])


@dataclass(frozen=True)
class Edition:
    """One version of the rules; number 0 is the project's file."""

    number: int
    time: float
    who: str
    why: str
    text: str

    @property
    def rules(self) -> RuleSet:
        """The rules, compiled."""
        return read_rules(self.text)


@dataclass(frozen=True)
class Trial:
    """What other rules would have said of what came in lately.

    Attributes
    ----------
    transactions, changed
        How many there were, and of how many the rules would have said something else.
    covered
        Of how many a rule fires: before, after.
    examples
        Label, category before, category after.
    """

    transactions: int
    changed: int
    covered: tuple[int, int]
    examples: Sequence[tuple[str, str, str]]


def current(connection: sa.Connection) -> Edition:
    """Return the newest version."""
    row = connection.execute(sa.select(RULE_VERSIONS).order_by(RULE_VERSIONS.c.number.desc()).limit(1)).first()
    return Edition(0, 0.0, "", "", FILE.read_text(encoding="utf-8")) if row is None else _edition(row)


def edition(connection: sa.Connection, number: int) -> Edition:
    """Return a version by its number.

    Raises
    ------
    RuleBookError
        When there is none.
    """
    if number == 0:
        return Edition(0, 0.0, "", "", FILE.read_text(encoding="utf-8"))
    row = connection.execute(sa.select(RULE_VERSIONS).where(RULE_VERSIONS.c.number == number)).first()
    if row is None:
        raise RuleBookError(f"There is no version {number} of the rules.")
    return _edition(row)


def history(connection: sa.Connection, before: int | None, count: int) -> Sequence[Any]:
    """Return versions without their texts, the newest first."""
    one = RULE_VERSIONS.c
    chosen = sa.select(one.number, one.time, one.who, one.why, one.sha256).order_by(one.number.desc()).limit(count)
    return connection.execute(chosen.where(one.number < before) if before is not None else chosen).all()


@functools.lru_cache(8)
def read_rules(text: str) -> RuleSet:
    """Compile a whole file's rules.

    Raises
    ------
    RuleBookError
        When something is wrong with them.
    """
    return _read(_load(text))


def parse_rules(text: str) -> RuleSet:
    """Read a whole file's rules that someone brings; see `parse_rule`."""
    said = _load(text)
    rules = said.get("rules") if isinstance(said, dict) else None
    _compile_elsewhere(rules if isinstance(rules, list) else [])
    return _read(said)


def _read(said: Any) -> RuleSet:
    if not isinstance(said, dict) or said.get("version") != FORMAT or not isinstance(said.get("rules"), list):
        raise RuleBookError(f"expected a mapping with version: {FORMAT} and a list of rules")
    found = [read_rule(one) for one in said["rules"]]
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RuleBookError(f"rule {twice[0]!r}: the name is taken twice")
    return RuleSet(found)


def read_rule(said: Any) -> Rule:
    """Read one rule.

    Raises
    ------
    RuleBookError
        When something is wrong with it.
    """
    if not isinstance(said, dict):
        raise RuleBookError("expected a mapping that states one rule")
    try:
        for name in ("name", "category", "confidence"):
            if name not in said:
                raise RuleBookError(f"{name} is missing")
        one = from_mapping(said)
        if not isinstance(one.name, str) or not NAME.fullmatch(one.name):
            raise RuleBookError(f"name {one.name!r}: expected a-z, 0-9 and single '-'")
        if not 0 < float(one.confidence) <= 1:
            raise RuleBookError(f"confidence {one.confidence}: expected a number above 0, at most 1")
        re.compile(one.regex)
        RuleSet([one])
    except re.error as error:
        raise RuleBookError(f"regex: {error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise RuleBookError(f"{error}") from None
    return one


def parse_rule(text: str) -> Rule:
    """Read one rule from its YAML; see `read_rule`. Its regex is compiled elsewhere first: some take minutes."""
    said = _load(text)
    _compile_elsewhere([said])
    return read_rule(said)


def _compile_elsewhere(rules: Sequence[Any]) -> None:
    """Compile regexes where that may end a process; what is wrong with them is said later."""
    found = [one["regex"] for one in rules if isinstance(one, dict) and isinstance(one.get("regex"), str)]
    if found:
        _run(COMPILE, json.dumps(found).encode(), REGEX_S, "compiling the regex")


def rule_text(rule: Rule) -> str:
    """Write one rule as YAML."""
    return str(yaml.safe_dump(as_mapping(rule), sort_keys=False, allow_unicode=True, width=100))


def with_rule(rules: RuleSet, rule: Rule, instead_of: str) -> str:
    """Return the text of all rules with one put in the place of another, or added where that name is empty.

    Raises
    ------
    RuleBookError
        When its name is that of a third.
    """
    kept = [one for one in rules.rules if one.name != instead_of]
    if rule.name in {one.name for one in kept}:
        raise RuleBookError(f"name {rule.name!r}: the name is taken")
    return write([as_mapping(one) for one in (*kept, rule)])


def write(mappings: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a file of rules."""
    listed = [dict(one) for one in mappings]
    return str(yaml.safe_dump({"version": FORMAT, "rules": listed}, sort_keys=False, width=120, allow_unicode=True))


def check(text: str) -> list[str]:
    """Check a whole file as ``scripts/budget_rules.py check`` does; return shadows and conflicts.

    Raises
    ------
    RuleBookError
        When the rules cannot be used, with every mistake by its line.
    """
    _refuse_bombs(text)
    with tempfile.TemporaryDirectory(prefix="marina-rules-") as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(text, encoding="utf-8")
        program = (sys.executable, str(ROOT / "scripts" / "budget_rules.py"), "check", "--rules", str(path))
        done = _run(program, b"", CHECK_S, "the check")
    lines = done.stdout.decode().strip().splitlines()
    if not lines or not WHOLE.fullmatch(lines[-1]):
        raise RuleBookError("\n".join((*lines, *done.stderr.decode(errors="replace").strip().splitlines()[-3:])))
    return lines[:-1]


def check_base(connection: sa.Connection, base: int) -> None:
    """Raise `RuleBookError` where someone has kept a version since `base`."""
    newest = connection.execute(sa.select(sa.func.max(RULE_VERSIONS.c.number))).scalar() or 0
    if newest != base:
        text = f"Version {newest} was kept meanwhile, and you looked at {base}. Look again, then decide."
        raise RuleBookError(text)


def save(database: Database, text: str, who: Person, why: str, now: float, base: int) -> int:
    """Keep a version, with its row of the ledger; return its number.

    Raises
    ------
    RuleBookError
        When someone else has kept one since version `base`.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    with database.writing(durable=True) as connection:
        ledger.lock(connection)
        check_base(connection, base)
        row = {"time": now, "who": who.name, "why": why, "sha256": digest, "rules": text}
        number = int(connection.execute(sa.insert(RULE_VERSIONS).returning(RULE_VERSIONS.c.number), row).scalar_one())
        details = {"why": why, "rules": number, "from": base, "sha256": digest}
        ledger.append(connection, who.name, "edit rules", MODEL, details, now)
    return number


@dataclass(frozen=True)
class Transactions:
    """What the categorizer was asked about: labels, amounts in EUR, and days."""

    labels: Sequence[str]
    amounts: Sequence[float]
    days: Sequence[str]


def kept(connection: sa.Connection, now: float) -> Transactions:
    """Return the transactions whose inputs were kept in the last two weeks."""
    chosen = sa.select(INPUTS.c.body).where(INPUTS.c.model == MODEL, INPUTS.c.time >= now - DAYS_S)
    bodies = connection.execute(chosen.order_by(INPUTS.c.time.desc()).limit(MOST_INPUTS)).scalars()
    return Transactions(*_transactions(bodies))


def try_on(lately: Transactions, before: RuleSet, after: RuleSet) -> Trial:
    """Compare what two sets of rules say of transactions; see `try_alone`."""
    labels = lately.labels
    said = _answers(lately, (before, after))
    changed = [at for at in range(len(labels)) if said[0][at] != said[1][at]]
    examples = [(labels[at][:80], said[0][at] or "-", said[1][at] or "-") for at in changed[:EXAMPLES]]
    covered = sum(map(bool, said[0][: len(labels)])), sum(map(bool, said[1][: len(labels)]))
    return Trial(len(labels), len(changed), covered, examples)


def try_alone(lately: Transactions, rules: RuleSet) -> None:
    """Try rules on transactions and on `LONG`, in a process of their own: a regex may take longer than anyone waits.

    What serves meanwhile is not tried: its version may be the one to be replaced.

    Raises
    ------
    RuleBookError
        When they take too long.
    """
    _answers(lately, (rules,))


def _answers(lately: Transactions, sets: Sequence[RuleSet]) -> list[list[str]]:
    labels = lately.labels
    asked = {
        "sets": [[as_mapping(one) for one in rules.rules] for rules in sets],
        "labels": [*labels, *LONG],
        "amounts": [*lately.amounts, *(-1.0 for _ in LONG)],
        "days": [*lately.days, *("2026-01-01" for _ in LONG)],
    }
    program = (sys.executable, "-m", "marina.console.rule_trial")
    what = f"trying these rules on {len(labels)} transactions and on long ones"
    done = _run(program, json.dumps(asked).encode(), TRIAL_S, what)
    if done.returncode:
        raise RuleBookError("\n".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:]))
    return list(json.loads(done.stdout))


def _transactions(bodies: "sa.ScalarResult[bytes]") -> tuple[list[str], list[float], list[str]]:
    labels: list[str] = []
    amounts: list[float] = []
    days: list[str] = []
    for body in bodies:
        try:
            said = json.loads(body)
            for one in said.get("instances", [said]):
                label, amount, day = (
                    str(one["label"]),
                    float(one["amount"]),
                    str(np.datetime64(str(one["date"])[:10], "D")),
                )
                labels.append(label)
                amounts.append(amount)
                days.append(day)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return labels, amounts, days


def _run(program: Sequence[str], sent: bytes, most_s: float, what: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a program that is killed where it takes too long; one that a signal ends is refused too."""
    try:
        done = subprocess.run(program, input=sent, capture_output=True, timeout=most_s, cwd=ROOT, check=False)
    except subprocess.TimeoutExpired:
        raise RuleBookError(f"{what} took longer than {most_s:g} s") from None
    if done.returncode < 0:
        raise RuleBookError(f"{what} was ended by signal {-done.returncode}")
    return done


def _refuse_bombs(text: str) -> None:
    """Refuse what is short and takes long, or much memory, to read."""
    depth = 0
    try:
        for event in yaml.parse(text, LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise RuleBookError("aliases (*name) are not read: a few stand for more than fits in memory")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise RuleBookError(f"nested more than {DEEPEST} deep")
    except NOT_YAML as error:
        raise _not_yaml(error) from None


def _load(text: str) -> Any:
    _refuse_bombs(text)
    try:
        return yaml.load(text, LOADER)
    except NOT_YAML as error:
        raise _not_yaml(error) from None


def _not_yaml(error: Exception) -> RuleBookError:
    return RuleBookError(f"not YAML: {(str(error).splitlines() or [type(error).__name__])[0]}")


def _edition(row: sa.Row[Any]) -> Edition:
    return Edition(row.number, row.time, row.who, row.why, row.rules)

"""Rules that say a transaction's category: words of the label, kind of booking, amount, sign, day.

A rule fires when every condition it states holds. Of several that fire, the one of highest priority answers, then the
most confident, then the first by name. A word after an article (``BRASSERIE DU THEATRE``) says where or whose, not
what: beside another rule's words, its rule does not fire. All keywords and patterns of all rules are looked up in one
pass over a label's words; what a text matches is remembered, so a label seen before costs one look-up. The other
conditions are checked for the whole batch at once. About 2 µs a transaction in a batch.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.budget.labels import OPERATIONS, Parsed

Sign = Literal["", "spent", "received"]

MOST_REMEMBERED: Final = 16_384
"""Texts whose matches are kept; when that many are known, all are forgotten."""


@dataclass(frozen=True)
class Rule:
    """One rule; a condition that is not stated holds always.

    Attributes
    ----------
    name
        Unique in its set.
    category
        What it says.
    confidence
        Share of its firings that are expected to be right, from 0 to 1.
    priority
        Higher ones answer first.
    keywords
        Phrases of whole words, one of which the text must have; a last word that ends in ``*`` may continue. Words are
        of A to Z and 0 to 9, as `models.budget.labels` writes them.
    regex
        A regular expression to be found in the text; where there are keywords too, one of both is enough.
    operations
        Kinds of booking, of `models.budget.labels.OPERATIONS`.
    sign
        "spent" for negative amounts, "received" for positive ones.
    amount
        Magnitude in EUR, from the first (included) to the second (excluded).
    days, months, weekdays
        Days of the month from 1, first and last; months from 1; weekdays from 0, Monday.
    """

    name: str
    category: str
    confidence: float
    priority: int = 0
    keywords: tuple[str, ...] = ()
    regex: str = ""
    operations: tuple[str, ...] = ()
    sign: Sign = ""
    amount: tuple[float, float] = (0.0, math.inf)
    days: tuple[int, int] = (1, 31)
    months: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()


@dataclass(frozen=True)
class Firings:
    """Which rules fired on which rows: `rows` and `ranks` int64 [F], by row, best rule first."""

    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]

    def best(self, count: int) -> NDArray[np.int64]:
        """Return the rank of each of `count` rows' best rule, -1 where none fired."""
        best = np.full(count, -1, np.int64)
        best[self.rows[::-1]] = self.ranks[::-1]  # of a row's, the first is written last
        return best


class RuleSet:
    """Compiled rules.

    Parameters
    ----------
    rules : iterable of Rule

    Attributes
    ----------
    rules : tuple of Rule
        By rank, best first.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: (-rule.priority, -rule.confidence, rule.name)))
        self._phrases: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._stems: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._patterns: list[tuple[re.Pattern[str], int]] = []
        silent = []
        for rank, rule in enumerate(self.rules):
            for keyword in rule.keywords:
                *words, last = keyword.rstrip("*").split()
                index = self._stems if keyword.endswith("*") else self._phrases
                index.setdefault(last, []).append((tuple(words), rank))
            if rule.regex:
                self._patterns.append((re.compile(rule.regex), rank))
            if not rule.keywords and not rule.regex:
                silent.append(rank)
        self._guard = re.compile("|".join(f"(?:{pattern.pattern})" for pattern, _ in self._patterns) or r"(?!)")
        self._stem_lengths = sorted({len(stem) for stem in self._stems})
        self._silent = [
            [rank for rank in silent if not self.rules[rank].operations or name in self.rules[rank].operations]
            for name in OPERATIONS
        ]
        self._operations = np.array([[name in (r.operations or OPERATIONS) for name in OPERATIONS] for r in self.rules])
        self._signs = np.array([{"": 0, "spent": -1, "received": 1}[rule.sign] for rule in self.rules])
        self._low = np.array([rule.amount[0] for rule in self.rules])
        self._high = np.array([rule.amount[1] for rule in self.rules])
        self._days = np.array([[r.days[0] <= day <= r.days[1] for day in range(1, 32)] for r in self.rules])
        self._months = np.array([[not r.months or month in r.months for month in range(1, 13)] for r in self.rules])
        self._weekdays = np.array([[not r.weekdays or day in r.weekdays for day in range(7)] for r in self.rules])
        self._known: dict[tuple[str, int], list[int]] = {}

    def fire(self, parsed: Parsed, amounts: NDArray[np.float64], days: NDArray[np.datetime64]) -> Firings:
        """Return every rule that fires on every transaction.

        Parameters
        ----------
        parsed : Parsed
            The labels, N of them.
        amounts : ndarray of float64, shape (N,)
            In EUR, negative when spent.
        days : ndarray of datetime64[D], shape (N,)
        """
        operations = parsed.operations.tolist()
        matched = [self._matching(text, operation) for text, operation in zip(parsed.texts, operations, strict=True)]
        rows = np.repeat(np.arange(len(matched)), [len(ranks) for ranks in matched])
        ranks = np.fromiter(chain.from_iterable(matched), np.int64, len(rows))
        if not len(rows):
            return Firings(rows, ranks)
        months = days.astype("datetime64[M]")
        of_month = (days - months).astype(np.int64)
        of_week = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        amount, sign = np.abs(amounts)[rows], self._signs[ranks]
        holds = self._operations[ranks, parsed.operations[rows]]
        holds &= (self._low[ranks] <= amount) & (amount < self._high[ranks])
        holds &= (sign == 0) | (sign == np.sign(amounts)[rows])
        holds &= self._days[ranks, of_month[rows]] & self._weekdays[ranks, of_week[rows]]
        holds &= self._months[ranks, months.astype(np.int64)[rows] % 12]
        return Firings(rows[holds], ranks[holds])

    def matched(self, rule: Rule, text: str) -> list[str]:
        """Return which of a rule's keywords, and whether its pattern, a text has."""
        return [
            *(keyword for keyword in rule.keywords if re.search(_as_pattern(keyword), text)),
            *([rule.regex] if rule.regex and re.search(rule.regex, text) else []),
        ]

    def _matching(self, text: str, operation: int) -> list[int]:
        """Return the ranks of the rules whose words a text has, or that ask for none, in order."""
        key = (text, operation)
        if (known := self._known.get(key)) is not None:
            return known
        words = text.split()
        placed = _after_articles(words)
        named: set[int] = set()  # ranks of rules whose words say what something is
        found: set[int] = set()
        for at, word in enumerate(words):
            spelled = [
                (at - len(before), rank)
                for before, rank in self._ending_in(word)
                if tuple(words[max(0, at - len(before)) : at]) == before
            ]
            found.update(rank for _, rank in spelled)
            named.update(rank for first, rank in spelled if not placed[first])
        if self._guard.search(text):
            for pattern, rank in self._patterns:
                if (match := pattern.search(text)) is not None:
                    found.add(rank)
                    if not placed[min(text.count(" ", 0, match.start()), len(placed) - 1)]:
                        named.add(rank)
        found = (named or found) | set(self._silent[operation])
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        ranks = self._known[key] = sorted(found)
        return ranks

    def _ending_in(self, word: str) -> Iterator[tuple[tuple[str, ...], int]]:
        """Return the words before and the rank of every keyword that ends in a word."""
        yield from self._phrases.get(word, ())
        for length in self._stem_lengths:
            if length > len(word):
                break
            yield from self._stems.get(word[:length], ())


def _after_articles(words: Sequence[str]) -> list[bool]:
    """Return which words follow a definite article that itself follows a word: in CAFE DE LA GARE the last."""
    placed = [False] * max(1, len(words))
    for at in range(2, len(words)):
        before = words[at - 1]
        placed[at] = before in _ARTICLES or (before in ("LA", "L") and at > 2 and words[at - 2] in ("DE", "A"))
    return placed


def _as_pattern(keyword: str) -> str:
    return rf"(?<![A-Z0-9]){re.escape(keyword.rstrip('*'))}" + ("" if keyword.endswith("*") else r"(?![A-Z0-9])")


_ARTICLES: Final = frozenset({"DU", "DES", "AU", "AUX"})
_NAMES: Final = tuple(field.name for field in fields(Rule))
_DEFAULTS: Final = {field.name: field.default for field in fields(Rule)}


def as_mapping(rule: Rule) -> dict[str, Any]:
    """Return a rule as JSON and YAML hold it: only what it states; an open upper amount is null."""
    given = {name: value for name, value in asdict(rule).items() if value != _DEFAULTS[name]}
    if "amount" in given:
        low, high = rule.amount
        given["amount"] = [low, None if math.isinf(high) else high]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def from_mapping(mapping: Mapping[str, Any]) -> Rule:
    """Return the rule that `as_mapping` wrote.

    Raises
    ------
    ValueError
        If a field is unknown.
    """
    if unknown := sorted(set(mapping) - set(_NAMES)):
        raise ValueError(f"rule {mapping.get('name')!r}: unknown field {unknown[0]!r}; fields are {', '.join(_NAMES)}")
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in mapping.items()
    }
    if "amount" in values:
        low, high = values["amount"]
        values["amount"] = (float(low), math.inf if high is None else float(high))
    return Rule(**values)


def read_rules(mappings: Sequence[Mapping[str, Any]]) -> RuleSet:
    """Compile the rules of an archive."""
    return RuleSet(from_mapping(one) for one in mappings)

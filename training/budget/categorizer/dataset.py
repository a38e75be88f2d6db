"""What the categorizer learns from: generated accounts, a household's own transactions, or recorded cards.

::

    file ─ read ─> transactions ─ possible? enough? ─> weak labels where none are given ─> rows with a weight
                                                       rules of the categories that are used ─┘

A household's own file may lack any of the usual categories and have others: rules say what the file's categories are
called, and those of categories that it does not use are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.labels import plain
from models.budget.rules import RuleSet
from training.budget import recorded, user_tables
from training.budget.categorizer import weak_supervision
from training.budget.plausibility import check_plausible
from training.budget.synthetic import accounts
from training.data import manifest, splits
from training.data.loading import load_recorded
from training.data.manifest import SYNTHETIC
from training.data.quality import BadDataError, Fault, OnBad
from training.data.reading.encodings import find_tables
from training.data.reading.reader import TableReader
from training.data.reading.style import Style
from training.data.splits import Indices

if TYPE_CHECKING:
    import pandas as pd

LEAST_GROUPS: Final = 4
"""Users, or months, or days, that transactions must be of to be divided."""

LEAST_ROWS: Final = 40
"""Transactions with a category that a training needs: fewer cannot show how good it is."""

OTHERS: Final = "synthetic"
"""Group of generated transactions that fill up a household's own: they teach, and are in no other part."""


def load(
    data: str, synthesis: accounts.Synthesis, rules: RuleSet, on_bad: OnBad, style: Style, console: Console
) -> tuple[pd.DataFrame, RuleSet, manifest.Manifest]:
    """Load or synthesise transactions, fit the rules to their categories, and hash what was used.

    Returns
    -------
    frame, rules, manifest
        The first with a category in every row, a `weight` that says how much it is worth, whether it was `tagged` by a
        user rather than guessed, and a `group` that must not be on both sides of a split.

    Raises
    ------
    training.data.quality.BadDataError
        If the data is bad, or there is too little of it.
    FileNotFoundError
        If there is no file.
    """
    if data == SYNTHETIC:
        frame = accounts.generate(synthesis)
        arrays = {name: frame[name].to_numpy() for name in ("amount",)}
        arrays |= {name: frame[name].to_numpy().astype(str) for name in ("user", "label", "category")}
        arrays["day"] = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
        whole = frame.assign(weight=1.0, tagged=True, group=frame["user"])
        fitted = _fitted(rules, sorted(set(frame["category"])), SYNTHETIC, console)
        return whole, fitted, manifest.of_arrays(arrays, SYNTHETIC)
    frame, used = read_recorded(data, on_bad, style, console)
    name = Path(data).name
    for odd in check_plausible(frame, name):
        console.print(odd, highlight=False, markup=False)
    tagged = frame["category"] != ""
    categories = sorted(set(frame["category"][tagged]))
    check_enough(frame, name)
    groups = group_of(frame[tagged], name)
    frame = frame.assign(group=group_of(frame, name) if tagged.all() else _like(frame, groups))
    fitted = _fitted(rules, categories, name, console)
    if tagged.all():
        return frame.assign(weight=1.0, tagged=True), fitted, used
    extra = fit_synthetic(accounts.generate(synthesis), categories)
    console.print(
        f"{(~tagged).sum()} of {len(frame)} transactions have no category; {len(extra)} generated ones of categories "
        f"that {name} has are learned from, too",
        highlight=False,
        markup=False,
    )
    return weak_supervision.completed(frame, fitted, extra.assign(group=OTHERS)), fitted, used


def read_recorded(
    data: str, on_bad: OnBad, style: Style, console: Console, *, least: int = recorded.LEAST
) -> tuple[pd.DataFrame, manifest.Manifest]:
    """Read a household's transactions, or recorded cards, show how they were read, and hash the files.

    Of cards, categories of fewer than `least` rows are left out.
    """
    reader = TableReader(style)
    read = partial(_read, on_bad=on_bad, least=least, reader=reader)
    return load_recorded(Path(data), read, _files, console, reader)


def divide(frame: pd.DataFrame, seed: int) -> tuple[Indices, Indices]:
    """Return rows to learn from and rows to test on; the latter are tagged, and of groups of their own."""
    tagged = np.flatnonzero(frame["tagged"].to_numpy())
    groups = frame["group"].to_numpy().astype(str)
    kept, test = (tagged[part] for part in splits.holdout(groups[tagged], 0.25, seed))
    guessed = np.flatnonzero(~frame["tagged"].to_numpy() & ~np.isin(groups, np.unique(groups[test])))
    return np.sort(np.concatenate([kept, guessed])), test


def _fitted(rules: RuleSet, categories: Sequence[str], name: str, console: Console) -> RuleSet:
    """Return the rules of some categories, and say which others there are."""
    fitted = fit_rules(rules, categories)
    if left := sorted({rule.category for rule in rules.rules} - {rule.category for rule in fitted.rules}):
        gone = len(rules.rules) - len(fitted.rules)
        console.print(
            f"{gone} of {len(rules.rules)} rules say categories that {name} does not call so, and are left out or "
            f"renamed: {', '.join(left)}",
            highlight=False,
            markup=False,
        )
    return fitted


def fit_rules(rules: RuleSet, categories: Sequence[str]) -> RuleSet:
    """Return the rules of some categories, which say them as those are written: ``Santé`` for ``sante``."""
    called = _called(categories)
    return RuleSet(
        replace(rule, category=called[_plain(rule.category)]) for rule in rules.rules if _plain(rule.category) in called
    )


def fit_synthetic(frame: pd.DataFrame, categories: Sequence[str]) -> pd.DataFrame:
    """Return the generated transactions that a household can learn from.

    All of them where its categories are all among the usual ones, for then it may only not have tagged the others yet;
    else those of the categories that it has.
    """
    called = _called(categories)
    if set(called) <= {_plain(one) for one in accounts.CATEGORIES}:
        called = {_plain(one): one for one in accounts.CATEGORIES} | called
    names = frame["category"].map(lambda one: called.get(_plain(one), ""))
    return frame.assign(category=names)[names != ""].reset_index(drop=True)


def group_of(frame: pd.DataFrame, file: str) -> npt.NDArray[Any]:
    """Return what must not be on both sides of a split: the user, or where there are few the month, or the day.

    Raises
    ------
    training.data.quality.BadDataError
        If there are too few even of days.
    """
    users: npt.NDArray[Any] = frame["user"].to_numpy().astype(str)
    if len(np.unique(users)) >= LEAST_GROUPS:
        return users
    for form in ("%Y-%m", "%Y-%m-%d"):
        times: npt.NDArray[Any] = frame["date"].dt.strftime(form).to_numpy().astype(str)
        if len(np.unique(times)) >= LEAST_GROUPS:
            return times
    days = frame["date"].dt.date.nunique()
    detail = f"expected transactions with a category on at least {LEAST_GROUPS} days, got {days}; send more days"
    raise BadDataError([Fault(file, None, "too few days", detail)])


def _like(frame: pd.DataFrame, groups: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the group of every row in the kind that those of the tagged rows are of."""
    if set(groups.tolist()) <= set(frame["user"].astype(str)):
        users: npt.NDArray[Any] = frame["user"].to_numpy().astype(str)
        return users
    form = "%Y-%m" if len(str(groups[0])) == 7 else "%Y-%m-%d"
    times: npt.NDArray[Any] = frame["date"].dt.strftime(form).to_numpy().astype(str)
    return times


def check_enough(frame: pd.DataFrame, file: str) -> None:
    """Refuse transactions that cannot be both learned from and tested on.

    Raises
    ------
    training.data.quality.BadDataError
        If too few of them have a category, or all of these the same one.
    """
    tagged = frame[frame["category"] != ""]
    categories = sorted(set(tagged["category"]))
    if len(tagged) < LEAST_ROWS:
        detail = f"expected at least {LEAST_ROWS} transactions with a category, got {len(tagged)}; tag some more"
        raise BadDataError([Fault(file, None, "too few rows", detail)])
    if len(categories) < 2:
        detail = f"expected at least two categories to distinguish, got only {categories[0]!r}; tag others, too"
        raise BadDataError([Fault(file, None, "one category", detail)])


def _read(path: Path, on_bad: OnBad, least: int, reader: TableReader) -> tuple[pd.DataFrame, list[Fault]]:
    cards = _find_cards(path)
    if cards is None:
        return user_tables.read(path, on_bad, reader)
    return recorded.read(cards, least=least, on_bad=on_bad, reader=reader)


def _files(path: Path) -> list[Path]:
    cards = _find_cards(path)
    return find_tables(path) if cards is None else [cards]


def _find_cards(path: Path) -> Path | None:
    """Return the file of recorded cards at a path; None where something else is there."""
    try:
        file = recorded.file(path)
    except FileNotFoundError:
        return None
    if path.is_dir() or path.name.startswith(f"{recorded.NAME}."):
        return file
    if path.suffix != ".parquet":
        return None
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_schema

    try:
        return file if {"card", "unit", "statement"} <= set(read_schema(path).names) else None
    except ArrowInvalid:
        return None


def _called(categories: Sequence[str]) -> dict[str, str]:
    """Return how each category is written, by its letters alone; of several ways the first."""
    return {_plain(name): name for name in reversed(sorted(categories)) if _plain(name)}


def _plain(name: str) -> str:
    return plain(name).replace(" ", "")

"""The anomaly detector on recorded card payments, of cards it never saw, beside plain rules.

These payments have no labels. What is known is which rows repeat an earlier one of their statement exactly: some are
double charges, many are two tickets. What is put in: anomalies of the generator's four kinds, into every card. A card
stands in for a household; its payments are fewer and dearer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from models.budget.anomaly_features import FEATURES
from training.budget import recorded as budget_recorded
from training.budget.anomaly.detector import Detector
from training.budget.anomaly.fit import BOOSTED, FALSE_POSITIVES, fit, fit_parts
from training.budget.anomaly.metrics import metrics_of, threshold_for
from training.budget.anomaly.rows import Table, table
from training.budget.synthetic.accounts import Synthesis, generate
from training.data import splits
from training.data.reading.reader import TableReader

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Score = Callable[[npt.NDArray[np.float32]], Floats]

KINDS: Final = ("duplicate", "amount", "merchant", "burst")
SHARES: Final = (0.0032, 0.0032, 0.0028, 0.0008)
"""Of a card's payments that an anomaly is made of: what the generator injects."""

CARDS: Final = 200
LEAST_ROWS: Final = 150
MOST_ROWS: Final = 450
"""Payments of a card: with fewer it is left out, of more the last ones are taken."""


def evaluate(path: Path, console: Console, folds: int = 2, reader: TableReader | None = None) -> None:
    """Print a table: how much of what is usual is reported, and of what was injected, on cards not trained on.

    Parameters
    ----------
    path
        Of the recorded card payments.
    console
        Where to print.
    folds
        Of whole cards.
    reader
        Reads the payments.
    """
    frame = injected(busy_cards(budget_recorded.read(path, least=1, reader=reader)[0]))
    judged, repeats = table(frame), frame["repeat"].to_numpy().astype(bool)
    console.print(
        f"{len(judged):,} payments of {len(set(judged.users.tolist()))} cards, {int(judged.odd.sum()):,} injected, "
        f"{int(repeats.sum()):,} that repeat an earlier one",
        highlight=False,
    )
    households = table(generate(Synthesis(users=40, months=18)))
    foreign, its_bar = _fit(households)
    rows: dict[str, list[list[float]]] = {}
    for train, test in splits.folds(judged.users, folds):
        # exact repeats are neither usual nor odd: nothing is fitted to them, and they are counted apart
        known = judged.select(train[~repeats[train]])
        detector, bar = _fit(known)
        unseen, again = judged.select(test[~repeats[test]]), judged.select(test[repeats[test]])
        alone, strange = _fit_forest(known)
        scored = {
            "trained on cards": (detector.scores, bar),
            "trained on households": (foreign.scores, its_bar),
            "isolation forest alone": (alone, strange),
            "plain rules": (plain_rules, 0.5),
        }
        for name, (score, threshold) in scored.items():
            rows.setdefault(name, []).append(_row(score(unseen.rows), score(again.rows), unseen, threshold))
    heads = ["usual reported", "repeats reported", *KINDS, "all kinds", "AUC", "average precision"]
    lines = ["| detector | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    for name, found in rows.items():
        values = np.mean(found, axis=0).tolist()
        lines.append(f"| {name} | {values[0]:.1%} | " + " | ".join(f"{value:.2f}" for value in values[1:]) + " |")
    console.print("\n" + "\n".join(lines), highlight=False, markup=False)


def plain_rules(rows: npt.NDArray[np.float32]) -> Floats:
    """Return 1 where a plain rule fires: a twin within three days, far above the usual, large at a new merchant."""
    value = dict(zip(FEATURES, rows.T, strict=True))
    twin = (value["twin_similarity"] > 0.95) & (value["twin_difference"] < 1e-4) & (value["twin_days"] <= 3)
    dear = value["amount_vs_merchant"] > 3
    stranger = (value["merchant_new"] > 0) & (value["amount_rank"] < 0.03)
    fired: Floats = (twin | dear | stranger).astype(np.float64)
    return fired


def busy_cards(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last payments of cards that have enough of them, sorted by card and date."""
    counts = frame["user"].value_counts()
    busy = np.sort(counts[counts >= LEAST_ROWS].index.to_numpy().astype(np.str_))
    chosen = np.random.default_rng(0).permutation(busy)[:CARDS]
    kept = frame[frame["user"].isin(chosen)].sort_values(["user", "date"], kind="stable")
    return kept.groupby("user", sort=False).tail(MOST_ROWS).reset_index(drop=True)


def injected(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Put anomalies among the payments of each card; ``anomaly`` tells their kind, "" for what was there.

    A duplicate comes up to two days later; an amount is multiplied by 4 to 15; a stranger is another card's merchant
    that this card never paid, at thrice its price; a burst is three to six small payments in two days.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = frame.assign(anomaly="")
    spent = np.flatnonzero(frame["amount"].to_numpy() < 0)
    kinds = rng.choice([*KINDS, ""], size=len(spent), p=[*SHARES, 1 - sum(SHARES)])
    victims = {kind: spent[kinds == kind] for kind in KINDS}
    dearer = victims["amount"]
    frame.loc[dearer, "amount"] = (frame.loc[dearer, "amount"] * rng.uniform(4, 15, len(dearer))).round(2)
    frame.loc[dearer, "anomaly"] = "amount"
    paid = frame.groupby("user")["label"].agg(set)
    added = [_later(frame.loc[victims["duplicate"]], rng, 3).assign(anomaly="duplicate")]
    strangers = frame.loc[victims["merchant"]].copy()
    for row in strangers.index:
        others = frame.loc[rng.choice(spent, 20)]
        unknown = others[~others["label"].isin(paid[strangers.at[row, "user"]])]
        if len(unknown):
            strangers.loc[row, ["label", "amount"]] = [unknown["label"].iloc[0], 3 * float(unknown["amount"].iloc[0])]
            strangers.loc[row, "anomaly"] = "merchant"
    added.append(strangers[strangers["anomaly"] == "merchant"])
    burst = frame.loc[np.repeat(victims["burst"], rng.integers(3, 7, len(victims["burst"])))]
    added.append(_later(burst, rng, 2).assign(anomaly="burst", amount=-rng.uniform(4, 40, len(burst)).round(2)))
    whole = pd.concat([frame, *(one.assign(repeat=False) for one in added)])
    return whole.sort_values(["user", "date"], kind="stable").reset_index(drop=True)


def _later(frame: pd.DataFrame, rng: np.random.Generator, days: int) -> pd.DataFrame:
    return frame.assign(date=frame["date"] + rng.integers(0, days, len(frame)).astype("timedelta64[D]"))


def _fit(known: Table) -> tuple[Detector, float]:
    detector, thresholds = fit(BOOSTED, known)
    return detector, thresholds["suspicious"]


def _fit_forest(known: Table) -> tuple[Score, float]:
    """Fit an isolation forest alone; its threshold is of users that it has not seen."""
    kept, held = (known.select(part) for part in splits.holdout(known.users, 0.3))
    detector = fit_parts(BOOSTED, kept, 0)
    return detector.strangeness, threshold_for(detector.strangeness(held.rows), held.odd, FALSE_POSITIVES["suspicious"])


def _row(scores: Floats, repeated: Floats, unseen: Table, threshold: float) -> list[float]:
    metrics = metrics_of(scores, unseen, {"reported": threshold})
    recall = [metrics.get(f"reported.recall.{kind}", float("nan")) for kind in KINDS]
    again = float((repeated >= threshold).mean())
    return [
        metrics["reported.false_positives"],
        again,
        *recall,
        metrics["reported.recall"],
        metrics["auc"],
        metrics["average_precision"],
    ]

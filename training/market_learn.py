"""What is learned from a market: ensembles fitted to all of it, calibrated and scored by answers they could not know.

::

    features, outcomes ─┬─ rolling-origin folds, purged ─> answers out of fold ─┬─> scores, walking forward
                        │                                                       └─> calibration, thresholds
                        └─ fit on everything ─────────────────────────────────────> ensembles
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.market.windows import LOOKBACK_H
from training import market_scores
from training.data.market_history import History
from training.data.splits import Indices
from training.forest_graphs import Calibration
from training.market_fit import AlertEnsembles, Progress, best_thresholds, calibrated, out_of_fold
from training.market_table import Features, Floats, Table, expected_peaks
from training.slices import SliceReport

MOST_REFERENCES = 512


@dataclass(frozen=True)
class Learned:
    """Ensembles that can serve, and what their certificate is made of.

    Attributes
    ----------
    ensembles, calibration
        What answers.
    thresholds
        float64 [16]: from which probability on an alert is given.
    peaks
        float64 [16, 2]: the mean largest reading of an event is the first plus the second times the reading now.
    reference, probabilities, happened
        At most 512 hours: features float32 [N, 18], calibrated answers of ensembles that had not seen them float64
        [N, 16], and what happened bool [N, 16].
    week
        The history's last week: an example.
    scores, slices
        Of answers out of fold.
    """

    ensembles: AlertEnsembles
    calibration: Calibration
    thresholds: Floats
    peaks: Floats
    reference: Features
    probabilities: Floats
    happened: npt.NDArray[np.bool_]
    week: History
    scores: tuple[market_scores.Score, ...]
    slices: SliceReport

    def answers(self, features: Features) -> tuple[Floats, Floats]:
        """Return calibrated probabilities and how far apart the two kinds of ensembles are, each [N, 16]."""
        forests, boosted = self.ensembles.votes(features)
        return self.calibration(self.ensembles.predict_proba(features)), np.abs(forests - boosted)


def learn(
    history: History,
    table: Table,
    ensembles: AlertEnsembles,
    folds: Sequence[tuple[Indices, Indices]],
    seed: int = 0,
    shown: Progress | None = None,
) -> Learned:
    """Fit ensembles, and find out how good they are.

    Parameters
    ----------
    history, table
        The market, and its rows.
    ensembles
        Settings; fitted anew for each fold, then on everything.
    folds
        At least two, in order of time, purged.
    seed
        Chooses the hours that are kept as a reference.
    shown
        Called once an alert and fit.
    """
    happened = table.outcomes.happened
    answers = out_of_fold(ensembles, table.features, happened, folds, shown)
    ensembles.fit(table.features, happened, shown)
    walked = market_scores.walk_forward(answers, happened, table.times)
    truth = happened[answers.rows]
    calibration = calibrated(answers.probabilities, truth)
    probabilities = calibration(answers.probabilities)
    some = np.sort(np.random.default_rng(seed).permutation(len(truth))[:MOST_REFERENCES])
    return Learned(
        ensembles=ensembles,
        calibration=calibration,
        thresholds=best_thresholds(probabilities, truth),
        peaks=expected_peaks(table.outcomes),
        reference=table.features[answers.rows[some]],
        probabilities=probabilities[some],
        happened=truth[some],
        week=_last_week(history),
        scores=tuple(market_scores.scores(walked, table.outcomes)),
        slices=market_scores.slices(walked, table),
    )


def _last_week(history: History) -> History:
    """Return the last week that could be asked about."""
    end = int(history.hours()[-1]) + 1
    return history.part(slice(end - LOOKBACK_H, end))

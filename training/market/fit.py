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
from training.calibration import PlattScaling
from training.data.splits import MOST_REFERENCES, Indices
from training.evaluation.reliability import Reliability
from training.evaluation.slices import SliceReport
from training.market import metrics as market_scores
from training.market.ensembles import NESTING, AlertEnsembles, Progress, out_of_fold, rate_thresholds
from training.market.history import History
from training.market.onsets import Onset, Rate, count_alerts, score_onsets
from training.market.rows import Features, Floats, Table, expected_peaks, find_extremes


@dataclass(frozen=True)
class Learned:
    """Ensembles that can serve, and what their certificate is made of.

    Attributes
    ----------
    ensembles, calibration
        What answers.
    thresholds
        float64 [16]: from which probability on an alert is given, at the rate `ensembles.ALERTS_PER_DAY`.
    peaks
        float64 [16, 2]: the mean largest reading of an event is the first plus the second times the reading now.
    reference, probabilities, happened
        At most `MOST_REFERENCES` hours: features float32 [N, 18], calibrated answers of ensembles that had not seen
        them float64 [N, 16], and what happened bool [N, 16].
    week
        The last week that was learned from: an example.
    extremes
        Least and most of what `find_extremes` names.
    scores, onsets, rates, slices, reliability
        Of answers out of fold.
    """

    ensembles: AlertEnsembles
    calibration: PlattScaling
    thresholds: Floats
    peaks: Floats
    reference: Features
    probabilities: Floats
    happened: npt.NDArray[np.bool_]
    week: History
    extremes: dict[str, tuple[float, float]]
    scores: tuple[market_scores.Score, ...]
    onsets: tuple[Onset, ...]
    rates: tuple[Rate, ...]
    slices: SliceReport
    reliability: dict[str, Reliability]

    def answers(self, features: Features) -> tuple[Floats, Floats]:
        """Return calibrated probabilities and how far apart the two kinds of ensembles are, each [N, 16]."""
        forests, boosted = self.ensembles.votes(features)
        return NESTING(self.calibration(self.ensembles.predict_proba(features))), np.abs(forests - boosted)


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
        Settings; refitted for each fold, then on everything.
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
    walked = market_scores.walk_forward(answers, table.outcomes, table.times)
    truth = happened[answers.rows]
    calibration = PlattScaling.fit(answers.probabilities, truth)
    probabilities = NESTING(calibration(answers.probabilities))
    at = np.searchsorted(history.times, table.times)
    last = int(at[-1])
    some = np.sort(np.random.default_rng(seed).permutation(len(truth))[:MOST_REFERENCES])
    return Learned(
        ensembles=ensembles,
        calibration=calibration,
        thresholds=rate_thresholds(probabilities, ~table.outcomes.already[answers.rows], answers.fold),
        peaks=expected_peaks(table.outcomes),
        reference=table.features[answers.rows[some]],
        probabilities=probabilities[some],
        happened=truth[some],
        week=history.part(slice(last - LOOKBACK_H + 1, last + 1)),
        extremes=find_extremes(history, at),
        scores=tuple(market_scores.scores(walked, table.outcomes)),
        onsets=tuple(score_onsets(walked, table)),
        rates=tuple(count_alerts(walked)),
        slices=market_scores.slices(walked, table),
        reliability=market_scores.reliability(walked, table.outcomes),
    )

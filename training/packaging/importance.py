"""How much a model's answers hang on each of its features: permutation importance, of the graph that serves.

A feature's values are exchanged between held-out rows, all else as it was, and the graph is asked again (Breiman,
Random forests, 2001). Measured is by how much its answers move rather than by how much more they err: no labels are
needed, and a feature on which the model leans wrongly counts as well. The figures of two versions are compared in the
weekly report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from archives.certificate import Case, CertificateError, Run
from archives.contract import Contract

MOST_ROWS: Final = 512
SEED: Final = 0
PLACES: Final = 4
"""That count, after the largest one's first digit: below lies a float32's noise, which must give no feature a rank."""


def permutation_importance(contract: Contract, held_out: Sequence[Case], run: Run) -> dict[str, float]:
    """Return by feature the mean absolute change of the first output when its values are exchanged between rows.

    Parameters
    ----------
    contract
        Its one input is a table [rows, features] of the features that it names; of any other nothing is returned.
    held_out
        Inputs that the model was not fitted to; at most `MOST_ROWS` rows are asked about, spread over all.
    run
        Answers inputs as the served graph does.

    Returns
    -------
    dict of str to float
        In the first output's unit (a difference of probabilities, say), all rounded to one decimal step, of 1e-4 of the
        largest at most: what differs by less is a tie, at 0 what counts for nothing.

    Raises
    ------
    archives.certificate.CertificateError
        When an answer is no finite number.
    """
    names, inputs = contract.features, contract.inputs
    if not names or len(inputs) != 1 or inputs[0].shape[-1] != len(names) or not held_out:
        return {}
    rows = np.concatenate([case.inputs[inputs[0].name] for case in held_out])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_ROWS, len(rows))).astype(np.int64))]
    chance = np.random.default_rng(SEED)

    def asked(table: Any) -> Any:
        return np.asarray(next(iter(run({inputs[0].name: table}).values())), np.float64).reshape(len(table), -1)

    usual, found = asked(rows), {}
    for column, name in enumerate(names):
        exchanged = rows.copy()
        exchanged[:, column] = rows[chance.permutation(len(rows)), column]
        with np.errstate(invalid="ignore", over="ignore"):
            found[name] = float(np.abs(asked(exchanged) - usual).mean())
        if not math.isfinite(found[name]):
            raise CertificateError(
                f"{contract.model}: with the values of {name} exchanged between held-out rows, or as they are, an "
                "answer is no finite number: let the graph bound what it takes"
            )
    largest = max(found.values())
    places = PLACES - math.floor(math.log10(largest)) if largest else 0
    return {name: round(moved, places) for name, moved in found.items()}

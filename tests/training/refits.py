"""Whether what ships is at least as good as the evaluated fit, on data that neither has seen."""

from typing import Any

import numpy as np
import numpy.typing as npt


def assert_no_worse(
    shipped: npt.NDArray[np.float64], evaluated: npt.NDArray[np.float64], groups: npt.NDArray[Any]
) -> None:
    """Compare losses of the same rows; the standard error is over the groups whose rows are alike.

    Parameters
    ----------
    shipped, evaluated
        Loss of each row, float64 [N].
    groups
        Whose each row is, [N].
    """
    which = np.unique(groups, return_inverse=True)[1]
    means = np.bincount(which, shipped - evaluated) / np.bincount(which)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert means.mean() <= 2 * error, f"what ships is worse by {means.mean():.4f} (standard error {error:.4f})"


def log_loss(probability: npt.NDArray[np.float64], happened: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the logarithmic loss of each probability of what happened or did not, float64 [N]."""
    held = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.where(happened, -np.log(held), -np.log(1 - held))

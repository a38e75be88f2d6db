"""Merchant profiles from transactions: who several households pay, and how banks write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.budget.merchants import Profile

if TYPE_CHECKING:
    import pandas as pd

LEAST_USERS = 3
"""Households that must pay a merchant: profiles travel with the model, and where one of them goes is its own affair."""

MOST_WAYS = 6
MOST_PROFILES = 2000


def profiles(frame: pd.DataFrame, texts: Sequence[str]) -> tuple[Profile, ...]:
    """Return the merchants that at least `LEAST_USERS` households pay, the most frequent first.

    Parameters
    ----------
    frame
        Columns user, and merchant if it is known; where it is not, what labels say is the name.
    texts
        The labels, cleaned, [N].
    """
    import pandas as pd

    cleaned = pd.Series(list(texts), index=frame.index)
    names = frame["merchant"] if "merchant" in frame else cleaned.str.title()
    table = pd.DataFrame({"name": names, "text": cleaned, "user": frame["user"]})
    table = table[table["text"].str.len() >= 2]
    ways = table.groupby(["name", "text"]).agg(rows=("user", "size"), users=("user", "nunique")).reset_index()
    ways = ways[ways["users"] >= LEAST_USERS].sort_values(["rows", "name", "text"], ascending=[False, True, True])
    # One spelling can be several merchants' (a shop called as another's brand): the most frequent keeps it.
    ways = ways.drop_duplicates("text")
    frequent = ways.groupby("name", sort=False)["rows"].sum()
    order = frequent.index[np.argsort(-frequent.to_numpy(), kind="stable")][:MOST_PROFILES]
    written = ways.groupby("name", sort=False)["text"].agg(list)
    return tuple(Profile(str(name), tuple(written[name][:MOST_WAYS])) for name in order)

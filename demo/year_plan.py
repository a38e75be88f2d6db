"""What is to happen in the simulated year: the products of each week, and in which weeks something is amiss."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from demo.versions import COLUMNS, EASY, products_like

if TYPE_CHECKING:
    import pandas as pd

    from training.catalog.synthetic.listings import Synthesis

SHARE: Final = 0.03
FIRST_SHARE: Final = 0.97
"""Of the first file; what is left stays a step ahead of what is visible, all year."""

FIRST: Final = datetime.datetime(2027, 1, 4, 4, 0, tzinfo=datetime.UTC)
"""The first Monday, after 02:00 in Paris in winter and in summer."""

EVENTS: Final = {"bad rows": 0.25, "duplicates": 0.4, "lost machine": 0.6, "drift": 0.8}
"""In which part of the year each one is."""

BAD: Final = 12
CODES: Final = ("10", "1280", "1281", "1300", "1302", "1560", "2280", "2403", "2582", "2705")
"""Of the products: with few of them a training takes a second or two."""

BOUND: Final = 0.5
"""Of the promotion metric: a few hundred products teach less than a whole catalogue."""

LEAST: Final = 3
"""Products of each code in the first week: versions with other labels cannot be compared."""


@dataclass(frozen=True)
class Plan:
    """A year.

    Attributes
    ----------
    weeks
        How many.
    folder
        Where its files are.
    visible
        How many rows are to be visible after each week's release.
    """

    weeks: int
    folder: Path
    visible: tuple[int, ...]

    @classmethod
    def make(cls, weeks: int, rows: int, held_out: int, seed: int, folder: Path) -> Plan:
        """Generate the products and write each week's file, and the products that are kept aside."""
        visible = [math.ceil(rows * FIRST_SHARE - 1e-9)]
        for _ in range(1, weeks):
            visible.append(visible[-1] + math.ceil(visible[-1] * SHARE - 1e-9))
        plan = cls(weeks, folder, tuple(visible))
        table = _products(replace(EASY, products=4 * (visible[-1] + rows) + 8 * held_out, seed=seed))
        aside = table[table["family"] % 3 == 0]
        aside[COLUMNS].head(held_out).to_csv(plan.held_out, index=False)
        later = table[table["family"] % 3 != 0]
        rank = later.groupby("prdtypecode").cumcount()
        later = later.assign(late=rank >= LEAST).sort_values("late", kind="stable")[COLUMNS]
        strange = _products(replace(EASY, products=visible[-1] + 300, seed=seed + 1, foreign=1.0, bare=1.0))
        strange = strange[strange["description"] == ""][COLUMNS]
        taken, before = 0, later.head(0)
        for week in range(weeks):
            count = rows if week == 0 else visible[week] - visible[week - 1]
            if plan.event(week) == "drift":
                mine = strange.head(count)
            else:
                mine, taken = later.iloc[taken : taken + count], taken + count
            plan._write(week, mine, before)
            before = mine
        return plan

    @property
    def held_out(self) -> Path:
        """The products that no training sees."""
        return self.folder / "held_out.csv"

    def file(self, week: int) -> Path:
        """Return a week's file."""
        return self.folder / f"week_{week + 1:02}.csv"

    def event(self, week: int) -> str:
        """Return what is amiss in a week, counted from 0; empty for nothing."""
        return next((name for name, part in EVENTS.items() if int(part * self.weeks) == week), "")

    def week_of(self, event: str) -> int:
        """Return the week of an event."""
        return int(EVENTS[event] * self.weeks)

    def _write(self, week: int, mine: pd.DataFrame, before: pd.DataFrame) -> None:
        import pandas as pd

        match self.event(week):
            case "bad rows":
                bad = mine.head(0).reindex(range(BAD)).assign(
                    designation=["", "a lamp", "a chair"] * (BAD // 3), description="seen once",
                    prdtypecode=["10", "", "no code"] * (BAD // 3),
                )  # fmt: skip
                pd.concat([mine, bad]).to_csv(self.file(week), index=False)
            case "duplicates":  # last week's again, as another program writes them
                pd.concat([before, mine]).to_csv(self.file(week), index=False, sep=";", encoding="utf-8-sig")
            case _:
                mine.to_csv(self.file(week), index=False)


def monday(week: int) -> float:
    """Return when a week's run is due, in seconds since 1970."""
    return (FIRST + datetime.timedelta(weeks=week)).timestamp()


def iso_week(week: int) -> str:
    """Return a week's name."""
    year, number, _ = (FIRST + datetime.timedelta(weeks=week)).isocalendar()
    return f"{year}-W{number:02}"


def _products(synthesis: Synthesis) -> pd.DataFrame:
    table = products_like(synthesis)
    return table[table["prdtypecode"].isin(CODES)].reset_index(drop=True)

"""What pages show of a model's drift: now beside the reference, week by week, and report by report."""

from typing import Any

import sqlalchemy as sa

from marina.console import alert_view
from marina.console.drift_plots import DriftPlots
from marina.console.drift_weeks import MOST_FEATURES, DriftWeeks, WeeklyPlot
from marina.console.rendering import translate
from marina.settings import Settings

SHOWN = 3
"""Features by week on a page about more; all of them have a page of their own."""


class ModelDrift:
    """Draws, and keeps what it has read of archives and weeks that are over."""

    def __init__(self, settings: Settings) -> None:
        self._plots = DriftPlots(settings)
        self._weeks = DriftWeeks(self._plots)

    def shown(self, connection: sa.Connection, model: str, now: float, lang: str) -> dict[str, Any]:
        """Return what the template `drift.html` shows of a model."""
        legend = translate(lang, "reference"), translate(lang, "now")
        plots, answers = self._plots.draw(connection, model, now, legend)
        return {
            "plotted": plots, "answers": answers, "model": model,
            "weekly": self.by_week(connection, model, now, lang, SHOWN),
            "scores": alert_view.drift_scores(connection, model),
        }  # fmt: skip

    def by_week(
        self, connection: sa.Connection, model: str, now: float, lang: str, most: int = MOST_FEATURES
    ) -> list[WeeklyPlot]:
        """Return a plot by feature, those that moved most first."""
        legend = translate(lang, "reference"), translate(lang, "week: 10 %, 50 %, 90 %")
        return self._weeks.draw(connection, model, now, legend, most)

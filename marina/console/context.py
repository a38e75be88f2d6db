"""What every page is made with."""

from dataclasses import dataclass

from marina.console.access import Access
from marina.console.decisions import Decisions
from marina.console.figures import Figures
from marina.console.model_drift import ModelDrift
from marina.console.rendering import Pages
from marina.database.connection import Database
from marina.settings import Settings


@dataclass(frozen=True)
class Context:
    """Where things are read from, and how they are shown."""

    database: Database
    settings: Settings
    access: Access
    pages: Pages
    decisions: Decisions
    figures: Figures
    drift: ModelDrift

    @staticmethod
    def of(database: Database, settings: Settings) -> "Context":
        """Make it for one database; `database` is one for a writer of the ledger."""
        access = Access(database, settings)
        decisions, figures = Decisions(database, settings), Figures(database)
        return Context(database, settings, access, Pages(access), decisions, figures, ModelDrift(settings))

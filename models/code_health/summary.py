"""What a row of code health is like: the key ones of its features, and how many are missing."""

from collections.abc import Sequence
from typing import Final

from models.ranges import MISSING_SHARE

KEY: Final = (
    "commit_frequency",
    "changes",
    "contributors",
    "author_experience",
    "recent_experience",
    "lines_added",
    "lines_deleted",
    "change_entropy",
    "fix_share",
    "files",
    "lines_of_code",
    "cyclomatic_complexity",
    "nesting",
    "test_coverage",
    "days_since_change",
    "velocity",
    "stability",
)
"""Features of `models.code_health.features` that are watched where a model reads them: who works on what is judged, how
large and how tangled it is, how much and how fast it changes. The others follow one of these."""


def summary_of(features: Sequence[str]) -> tuple[str, ...]:
    """Return what is logged of a row that has these features."""
    return (*(name for name in KEY if name in features), MISSING_SHARE)

"""Names of models, versions and requests, as the tables have room for."""

from typing import Any

LONGEST_VERSION = 64
LONGEST = 128
"""Characters of any other name."""


def name(said: Any, longest: int = LONGEST) -> str:
    """Return what was said if it is a name.

    Raises
    ------
    ValueError
        When it is empty, too long, holds a NUL (which PostgreSQL's texts cannot), or is no text at all.
    """
    if not isinstance(said, str) or not 0 < len(said) <= longest or "\0" in said:
        raise ValueError(f"expected a name of up to {longest} characters")
    return said

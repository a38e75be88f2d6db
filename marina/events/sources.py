"""Who says what is true: sources as the gateway names them, of which some are trusted more than others."""

TRUSTED = "feedback"
"""How the names of sources begin that have a token for labels (MARINA_FEEDBACK_TOKENS)."""


def trusted(source: str) -> bool:
    """Return whether a source has a token for labels."""
    return source.startswith(TRUSTED)

"""The one base of every error whose text is written for the person who meets it."""


class MarinaError(Exception):
    """What went wrong and what to do about it, as text. A command shows the text alone and ends with status 1."""

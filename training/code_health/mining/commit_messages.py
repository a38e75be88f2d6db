"""Tells from a commit's message whether it repairs a defect."""

from __future__ import annotations

import re
from typing import Final

_REPAIR: Final = re.compile(r"\b(fix(e[sd]|ing)?|hot-?fix|repair(s|ed|ing)?)\b", re.I)
_SURELY: Final = re.compile(r"\b(bugs?|bug-?fix(es)?|defects?|crash(es|ed|ing)?|regressions?)\b", re.I)
_TAKES_BACK: Final = re.compile(r'^Revert "')
_NO_DEFECT: Final = re.compile(
    r"\b(typos?|spelling|grammar|wording|docs?|docstrings?|documentation|readme|changelogs?|news|comments?|link\w*|lint\w*|"
    r"flake8|pep-?8|[EFW]\d{3}|pylint|ruff|mypy|typing|type hints?|format(ting)?|style|whitespaces?|indent(ation)?|ci|"
    r"travis|tox|coverage|tests?|unittests?|warnings?|merge|conflicts?)\b",
    re.I,
)
_ASIDE: Final = re.compile(r"https?://\S+|(?<=\S)\W+(fix(e[sd])?|close[sd]?|resolve[sd]?):? +(#|gh-)\d+", re.I)
"""Links, and a ticket named after what was done, which may be a wish as well as a defect."""


def repairs(message: str) -> bool:
    """Whether a commit's message says that it repairs a defect.

    Its first line says so, and not of documentation, style or tests; or it takes a commit back (after Mockus & Votta,
    ICSM 2000).
    """
    said = message.strip().partition("\n")[0]
    if _TAKES_BACK.search(said):
        return True
    said = _ASIDE.sub("", said)
    return bool(_SURELY.search(said) or (_REPAIR.search(said) and not _NO_DEFECT.search(said)))

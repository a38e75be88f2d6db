"""Product texts as sellers send them, made plain: tags, entities, white space, and a bound on what is read.

Letters keep their case and accents here, because how a title is written says something about who sells what;
`models.text` folds them where only the words matter. Nothing is translated: a catalogue holds several languages, and
the model learns the words of each.
"""

import html
import re
from dataclasses import dataclass
from typing import Final

from models.text import plain

MOST_READ: Final = 2000
"""Characters of a product's text that are read: what it is comes at the beginning, and reading on changes nothing."""

_MARKUP: Final = 4
"""A text may be this many times longer before its markup is taken out."""

_TAG: Final = re.compile(r"<[a-zA-Z/!?][^<>]*(?:>|$)")
_BREAK: Final = re.compile(r"</?wbr\s*/?>", re.IGNORECASE)
_ENTITY: Final = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_LIGATURES: Final = {"œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE"}


@dataclass(frozen=True)
class Product:
    """A product as a client or a file names it: a designation, and a description or none."""

    designation: str
    description: str | None = None


def cleaned(text: str) -> str:
    """Return a text without markup, in one line.

    Tags become spaces (sellers write lists and paragraphs without any), entities the characters they stand for, also
    where they were escaped twice; white space is single. A ``<`` that begins no tag stays. What is not seen is
    taken out (`models.text.plain`), and so is ``<wbr>``, which says where a word may be broken.

    Examples
    --------
    >>> cleaned("<p>Caf&eacute;</p><b>Cr&amp;egrave;me</b> 3 < 4 &nbsp; c&oelig;ur")
    'Café Crème 3 < 4 coeur'
    """
    if "&" in text:
        # Twice: shops escape what was escaped already. Only whole entities, so "R&D" and "A&lt" stay.
        text = _ENTITY.sub(_decode, _ENTITY.sub(_decode, text))
    if "<" in text:
        text = _TAG.sub(" ", _BREAK.sub("", text))
    if not text.isascii():
        text = plain(text)
        for ligature, letters in _LIGATURES.items():
            text = text.replace(ligature, letters)
    return " ".join(text.split())


def whole(product: Product) -> str:
    """Return the text of a product that is read: its designation, its description, at most `MOST_READ` characters."""
    text = cleaned(product.designation[: _MARKUP * MOST_READ])
    if product.description and len(text) < MOST_READ:
        text = f"{text} {cleaned(product.description[: _MARKUP * MOST_READ])}"
    return text[:MOST_READ].strip()


def _decode(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])

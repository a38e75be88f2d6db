"""Texts to hashed bags of n-grams, the whole batch at once: the same numpy code in training and in serving.

::

    texts ─fold─> words ─n-grams─> buckets ─merge─> counts ─tfidf─> weights ─pad─> what a graph takes

A bag is ragged, in compressed rows: ``offsets`` int64 [N + 1], and per distinct bucket of a row one entry of
``buckets`` int64 [nnz] (ascending within the row) and of a float32 [nnz] array of counts or weights.

Before all else a text is made plain (`plain`): what cannot be seen is taken out, and equal letters are spelled alike.
Folding is the one policy for case, accents and punctuation: letters and digits of every script are kept, in lower
case and without accents (``É`` is ``e``), ``œ`` and ``æ`` stay letters of their own, a combining mark is dropped, and
everything else (punctuation, emoji, control characters) separates words. No vocabulary is kept, so there is none to
ship; no process-dependent ``hash()`` is used, so equal texts give equal buckets everywhere.

Method: the hashing trick (Weinberger et al., 2009) with polynomial hashes of Unicode code points, finished by the
mixer of MurmurHash3 (Appleby, 2011).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]

MOST_BUCKETS = 1 << 24
LONGEST_NGRAM = 8

_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_FORMS = re.compile("[\u3000\ufb00-\ufb06\uff01-\uff9f\uffe0-\uffee\U0001d400-\U0001d7ff]+")

_SPACE, _DROPPED = 32, 0
_PLANE = 1 << 16  # letters beyond the basic plane (historic scripts, emoji) separate words
_BASE = 0x01000193  # of the polynomial; any odd number without structure does
_WORD, _CHAR = 0x9E3779B9, 0x85EBCA6B  # words and characters of equal spelling go to different buckets


@dataclass(frozen=True)
class Hashing:
    """Which n-grams are taken, and into how many buckets.

    Attributes
    ----------
    buckets
        A power of two, at most `MOST_BUCKETS`.
    word
        Shortest and longest run of words; ``(0, 0)`` for none.
    char
        Shortest and longest run of characters within a word, whose two edges count as characters; ``(0, 0)`` for none.
    salt
        Sends the same n-grams elsewhere, so that two fields of a record can share one table.

    Raises
    ------
    ValueError
        If any of these is out of its range, or nothing is taken at all.
    """

    buckets: int = 1 << 18
    word: tuple[int, int] = (1, 2)
    char: tuple[int, int] = (3, 5)
    salt: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.buckets <= MOST_BUCKETS or self.buckets & (self.buckets - 1):
            raise ValueError(f"expected a power of two from 2 to {MOST_BUCKETS} buckets, got {self.buckets}")
        for name, (low, high) in (("word", self.word), ("char", self.char)):
            if (low, high) != (0, 0) and not 1 <= low <= high <= LONGEST_NGRAM:
                raise ValueError(f"{name}: expected (0, 0) or 1 <= low <= high <= {LONGEST_NGRAM}, got {(low, high)}")
        if self.word == self.char == (0, 0):
            raise ValueError("expected word or character n-grams, got neither")
        if not 0 <= self.salt < 1 << 32:
            raise ValueError(f"expected a salt of 32 bits, got {self.salt}")


@dataclass(frozen=True)
class Folded:
    """Texts ready to be cut into n-grams, one after the other.

    Attributes
    ----------
    codes
        uint32 [M], code points; one space before, between and after words and texts.
    rows
        int64 [M], the text that each letter or digit belongs to; a space may bear its neighbour's.
    count
        How many texts there are.
    """

    codes: NDArray[np.uint32]
    rows: Integers
    count: int

    def part(self, start: int, stop: int) -> "Folded":
        """Return some consecutive texts, as if they alone had been folded."""
        first, last = np.searchsorted(self.rows, (start, stop)).tolist()
        # A text shares the spaces around it with its neighbours.
        first -= first > 0 and self.codes[first - 1] == _SPACE
        last += last < len(self.codes) and self.codes[last] == _SPACE
        return Folded(self.codes[first:last], self.rows[first:last] - start, stop - start)


def hashed(texts: Sequence[str], how: Hashing) -> tuple[Integers, Integers, Floats]:
    """Count the hashed n-grams of each text.

    Parameters
    ----------
    texts : sequence of str, length N
        Any strings; empty ones and ones without a letter or digit give empty rows.
    how : Hashing

    Returns
    -------
    offsets : ndarray of int64, shape (N + 1,)
    buckets : ndarray of int64, shape (nnz,)
    counts : ndarray of float32, shape (nnz,)
        Row i is ``buckets[offsets[i] : offsets[i + 1]]``, ascending and without duplicates; a row depends on its own
        text alone.
    """
    return ngrams(folded(texts), how)


def ngrams(texts: Folded, how: Hashing) -> tuple[Integers, Integers, Floats]:
    """Do as `hashed` does, with texts that were folded before: several kinds of n-grams then cost one folding."""
    spaces = texts.codes == _SPACE
    keys = [*_words(texts, spaces, how), *_chars(texts, spaces, how)]
    return _merge(np.concatenate([np.zeros(0, np.int64), *keys]), texts.count, how.buckets)


def tfidf(offsets: Integers, buckets: Integers, counts: Floats, idf: Floats) -> Floats:
    """Weigh counts: ``1 + ln(count)``, times the bucket's ``idf``, each row scaled to length 1.

    Parameters
    ----------
    offsets, buckets, counts
        A bag, as `hashed` gives it.
    idf : ndarray of float32, shape (buckets,)

    Returns
    -------
    ndarray of float32, shape (nnz,)
        A row whose weights are all zero stays zero.
    """
    weights = (1 + np.log(counts)) * idf[buckets]
    rows = np.repeat(np.arange(len(offsets) - 1), offsets[1:] - offsets[:-1])
    squares = np.bincount(rows, weights=weights.astype(np.float64) ** 2, minlength=len(offsets) - 1)
    lengths = np.sqrt(np.where(squares > 0, squares, 1.0))
    normalised: Floats = (weights / lengths[rows]).astype(np.float32)
    return normalised


def inverse_frequency(offsets: Integers, buckets: Integers, how: Hashing) -> Floats:
    """Return the smoothed inverse document frequency of every bucket, ``1 + ln((1 + N) / (1 + rows with it))``.

    Parameters
    ----------
    offsets, buckets
        The bag of the texts that a model trains on.
    how
        What the bag was made by.

    Returns
    -------
    ndarray of float32, shape (how.buckets,)
        Of a bucket that no text has, the greatest.
    """
    seen = np.bincount(buckets, minlength=how.buckets)
    return (1 + np.log(len(offsets) / (1 + seen))).astype(np.float32)


def beside(bags: Sequence[tuple[Integers, Integers, Floats]]) -> tuple[Integers, Integers, Floats]:
    """Put bags of the same texts side by side: row i has what row i of each of them has, in their order.

    Parameters
    ----------
    bags : sequence of (offsets, buckets, values)
        As `hashed` or `tfidf` give them, all of N rows. A bucket of two bags stays twice in a row: what is computed
        from a bag is a sum over its entries.
    """
    lengths = np.stack([offsets[1:] - offsets[:-1] for offsets, _, _ in bags])  # (bags, N)
    offsets = np.zeros(lengths.shape[1] + 1, np.int64)
    np.cumsum(lengths.sum(axis=0), out=offsets[1:])
    starts = offsets[:-1] + np.cumsum(lengths, axis=0) - lengths
    buckets, values = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.float32)
    for (own, places, numbers), length, start in zip(bags, lengths, starts, strict=True):
        where = np.arange(len(places)) + np.repeat(start - own[:-1], length)
        buckets[where], values[where] = places, numbers
    return offsets, buckets, values


def padded(offsets: Integers, buckets: Integers, values: Floats) -> tuple[Integers, Floats]:
    """Make a bag rectangular, as a graph takes it.

    Returns
    -------
    indices : ndarray of int64, shape (N, K)
        K is the length of the longest row, at least 1; bucket 0 where a row is shorter.
    weights : ndarray of float32, shape (N, K)
        Zero where a row is shorter.
    """
    lengths = offsets[1:] - offsets[:-1]
    longest = max(1, int(lengths.max(initial=0)))
    taken = np.arange(longest) < lengths[:, None]  # (N, K)
    indices, weights = np.zeros(taken.shape, np.int64), np.zeros(taken.shape, np.float32)
    indices[taken], weights[taken] = buckets, values
    return indices, weights


def plain(text: str) -> str:
    """Return a text as it would be typed: without what is not seen, accents composed, letters in their usual form.

    Taken out are soft hyphens, joiners, spaces without width, marks of direction and variation selectors (the property
    Default_Ignorable_Code_Point of Unicode, UAX #44), wherever they stand: they say how a word may be broken or drawn,
    and not where it ends. Accents are composed (NFC, UAX #15); letters of full and half width, ligatures and letters
    for formulas become those they stand for (NFKC).

    Examples
    --------
    >>> plain("pis\u00adci\u200bne e\u0301te\u0301 \uff30\uff4f\uff4f\uff4c \ufb01ltre")
    'piscine été Pool filtre'
    """
    if text.isascii():
        return text
    if _UNSEEN.search(text):
        text = _UNSEEN.sub("", text)
    if _FORMS.search(text):
        text = _FORMS.sub(lambda form: unicodedata.normalize("NFKC", form[0]), text)
    return unicodedata.normalize("NFC", text)


def words_of(text: str) -> list[str]:
    """Return the folded words of one text, in order: what `hashed` sees of it.

    Examples
    --------
    >>> words_of("L'Été à 20 €: <b>CHÂTEAU</b>!")
    ['l', 'ete', 'a', '20', 'b', 'chateau', 'b']
    """
    return folded([text]).codes.tobytes().decode("utf-32-le", "surrogatepass").split()


@cache
def _folding() -> NDArray[np.uint32]:
    """Return what each code point of the basic plane becomes: a letter or digit, a space, or nothing."""
    table = np.full(_PLANE, _SPACE, np.uint32)
    for code in range(_PLANE):
        character = chr(code)
        # The first of a letter's parts is its base letter; what has no part is itself.
        base = unicodedata.normalize("NFKD", character.lower())[0]
        if base.isalnum():
            table[code] = ord(base) if ord(base) < _PLANE else code
        elif unicodedata.combining(character):
            table[code] = _DROPPED
    return table


def folded(texts: Sequence[str]) -> Folded:
    """Fold a batch of texts."""
    texts = [plain(text) for text in texts]
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    whole = "".join(f" {text}" for text in texts) + " "
    raw = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = _folding()[np.minimum(raw, _PLANE - 1)]
    rows = np.repeat(np.arange(len(texts) + 1), np.append(lengths, 1))
    kept = codes != _DROPPED
    if not kept.all():
        codes, rows = codes[kept], rows[kept]
    # Of several spaces the first stays, even where it ends one text and begins another: no n-gram crosses it.
    kept = codes != _SPACE
    kept[1:] |= kept[:-1]
    kept[0] = True
    return Folded(codes[kept], rows[kept], len(texts))


def _words(texts: Folded, spaces: NDArray[np.bool_], how: Hashing) -> list[NDArray[np.int64]]:
    edges = np.flatnonzero(spaces) if how.word[1] else np.zeros(0, np.int64)
    before, lengths = edges[:-1], edges[1:] - edges[:-1]  # each word with the space before it; none is empty
    if not len(before):
        return []
    place = np.arange(len(texts.codes) - 1) - np.repeat(before, lengths)  # 0 is the space
    terms = texts.codes[:-1] * _powers(int(lengths.max()))[place]
    terms[before] = 0
    word = _mix(np.add.reduceat(terms, before, dtype=np.uint32))
    row = texts.rows[before + 1]
    runs, rows, run = [], [], np.zeros_like(word)
    for count in range(1, min(how.word[1], len(word)) + 1):
        last = word[count - 1 :]
        run = (run[: len(last)] * np.uint32(_BASE) ^ last) + np.uint32(count)
        if count >= how.word[0]:
            whole = row[: len(last)] == row[count - 1 :]
            runs.append(run[whole])
            rows.append(row[: len(last)][whole])
    return [_keys(runs, rows, _WORD, how)] if runs else []


def _chars(texts: Folded, spaces: NDArray[np.bool_], how: Hashing) -> list[NDArray[np.int64]]:
    codes = texts.codes
    runs, rows, run = [], [], np.zeros_like(codes)
    inside = np.ones(len(codes), np.bool_)  # no space between the first and the last character
    for count in range(1, min(how.char[1], len(codes)) + 1):
        last = codes[count - 1 :]
        run = run[: len(last)] * np.uint32(_BASE) + last
        inside = inside[: len(last)]
        if count > 2:
            inside = inside & ~spaces[count - 2 : count - 2 + len(last)]
        if count >= how.char[0]:
            taken = np.flatnonzero(inside & ~spaces if count == 1 else inside)
            runs.append(run[taken] + np.uint32(count))
            # The space beside a word may be the neighbouring text's: its letter says whose the n-gram is.
            rows.append(texts.rows[taken + spaces[taken]])
    return [_keys(runs, rows, _CHAR, how)] if runs else []


def _powers(count: int) -> NDArray[np.uint32]:
    powers = np.full(count, _BASE, np.uint32)
    powers[0] = 1
    return np.multiply.accumulate(powers, dtype=np.uint32)


def _mix(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread every bit over the word: the finaliser of MurmurHash3."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def _keys(runs: Sequence[NDArray[np.uint32]], rows: Sequence[Integers], kind: int, how: Hashing) -> NDArray[np.int64]:
    """Return row and bucket of each n-gram in one number that sorts by both."""
    salt = (kind + how.salt) * 0x9E3779B1 & 0xFFFFFFFF
    bucket = _mix(np.concatenate(runs) + np.uint32(salt)) & np.uint32(how.buckets - 1)
    return np.concatenate(rows) * how.buckets + bucket


def _merge(keys: NDArray[np.int64], count: int, buckets: int) -> tuple[Integers, Integers, Floats]:
    keys.sort()
    new = np.ones(len(keys), np.bool_)
    new[1:] = keys[1:] != keys[:-1]
    first = np.flatnonzero(new)
    found = keys[first]
    counts = (np.append(first[1:], len(keys)) - first).astype(np.float32)
    offsets = np.searchsorted(found, np.arange(count + 1) * buckets).astype(np.int64)
    return offsets, found & (buckets - 1), counts

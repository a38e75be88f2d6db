"""French bank labels: what kind of booking it was, and who was paid, without what the bank wrote around it.

::

    PAIEMENT CB 1203 LYON CARREFOUR CITY CARTE 12345678   ──>   card, CARREFOUR CITY
    PRLV SEPA EDF CLIENTS PARTICULIERS ECH/150324 MDT/…   ──>   debit, EDF CLIENTS PARTICULIERS
    CARTE 11/03/24 SUMUP *DURAND 69LYON CB*1234           ──>   card, SUMUP DURAND

Written from how a dozen banks' statements look; a form that is not known loses less than it should, and never
fails. One pass over a label's words: about 4 µs; a label that was encountered recently is looked up.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.budget.places import CITIES, LONGEST

OPERATIONS: Final = ("other", "card", "debit", "transfer", "cash", "cheque", "fee", "refund")
"""Kinds of booking: card payment, direct debit, transfer either way, withdrawal, cheque, bank fee, card refund."""

OTHER, CARD, DEBIT, TRANSFER, CASH, CHEQUE, FEE, REFUND = range(len(OPERATIONS))

LONGEST_LABEL: Final = 4096
"""Characters of a label that are read; SEPA's remittance text and what banks put around it are a few hundred."""

LONGEST_TEXT: Final = 200
"""Characters of a cleaned text that are kept, in whole words: who was paid stands before that."""


@dataclass(frozen=True)
class Parsed:
    """A batch of labels: `operations` int64 [N], positions in `OPERATIONS`; `texts`, words of A to Z and 0 to 9."""

    operations: NDArray[np.int64]
    texts: list[str]


# Letters with accents to bare capitals; every dash, apostrophe and kind of space to a plain one.
_BARE: Final = {
    code: base
    for code in range(0x80, 0x2100)
    if (base := unicodedata.normalize("NFKD", chr(code)).encode("ascii", "ignore").decode().strip() or " ") != chr(code)
}
_BARE.update({ord("Œ"): "OE", ord("Æ"): "AE", ord("Ø"): "O", ord("€"): " ", 0x2019: "'"})

# A word that is a day, a number, a masked card, a mandate or a reference; letters and a few digits (MK2) are a name.
_NUMBER: Final = re.compile(
    r"[X#N°*(]{0,4}\d[\dX/.:,*\-H)]*"  # 12/03, 120324, X1234, 4974XXXXXXXX1234, 10H32
    r"|[A-Z*:/.]{1,14}\d{4,}.*"  # CB*1234, FR48619661, REF/33375654, ECH/150324
    r"|(?:\D*\d){5}.*"  # FR12ZZZ123456
    r"|(?:CB|CARTE|NUM|NO|N)[*.:]\d+"
    r"|[^A-Z]+"  # a lone dash, colon or star
)
# What named a day or a number that is gone, and the words of SEPA's own fields; some are cut off.
_FIELDS: Final = frozenset(
    [
        *(
            "MOTIF:",
            "/MOTIF",
            "MOTIF",
            "BEN:",
            "/BEN",
            "/BEN:",
            "/DE",
            "DE:",
            "/DE:",
            "/REF",
            "REF:",
            "REF",
            "/REFDO",
            "REFDO",
        ),
        *("/MDT", "MDT", "MDT:", "ECH", "ECH:", "/ECH", "RUM", "RUM:", "/RUM", "ICS", "ICS:", "LIB:", "/LIB", "POUR:"),
        *("REFERENCE", "REFERENCE:", "ID", "ID:", "EMETTEUR", "EMETTEUR/", "FACT", "NUMERO", "NUM", "MANDAT"),
    ]
)
# What else people pay contributions and costs for: no bank's fee.
_NO_FEE: Final = (
    *("SYNDIC", "CLUB", "ASSO", "ASSURANCE", "MUTUELLE", "SPORT", "URSSAF", "RETRAITE", "ORDRE", "LICENCE", "LIGUE"),
    *("SCOL", "CANTINE", "ECOLE", "UNIV", "INSCRIPTION", "NOTAIRE", "AVOCAT", "HUISSIER", "MEDIC", "DENT", "HOSPI"),
    *("VETO", "PORT\\b", "LIVRAISON", "DEPLACEMENT", "OBSEQUES", "CRECHE", "GARDE D.?ENF", "AGENCE", "MAIF", "MACIF"),
    *("MGEN", "MMA\\b", "LIVRET", "EPARGNE", "MOBILE", "INTERNET", "TELEPH", "VIAGER", "COPRO", "NOTE DE"),
)
# How a label begins, by kind of booking; the first that fits decides.
_HEADS: Final = {
    "refund": r"(?:REMBOURST|REMBT|REMB|AVOIR|ANNUL|ANNULATION|CREDIT)\.?"
    r"(?: (?:CARTE BANCAIRE|CARTE|CB|PAIEMENT|DU))+\b"
    r"|(?:AVOIR|REMBOURSEMENT)\b|(?:CARTE|CB)(?: CARTE| CB)* CR\b",
    "cash": r"(?:CARTE |CB )?(?:RETRAIT|RET|RETR)\b\.?"
    r"(?: (?:AU|DAB|GAB|DISTRIBUTEUR|ESPECES|ESP|CB|CARTE|SG|DU|DIST)\b\.?)*|(?:DAB|GAB)\b",
    "card": r"(?:(?:FACTURE|PAIEMENT|PAIEMT|PAIE|PMT|ACHAT|ACH|OPERATION|TRANSACTION)\b ?(?:PAR |EN )?)?"
    r"(?:CARTE|CB|PSC|SANS CONTACT|E-?COMMERCE|INTERNET)\b\.?"
    r"(?: (?:DU|SANS CONTACT|BANCAIRE|VISA|MASTERCARD|NO)\b)*",
    "debit": r"(?:PRLV|PRLVT|PRELEVEMENT|PRELEVT|PREL|TIP)\b\.?(?: (?:SEPA|EUROPEEN|RECURRENT|CORE|B2B|DE)\b)*:?",
    "transfer": r"(?:VIREMENT|VIRT|VIR)\b\.?(?: (?:SEPA|INST|INSTANTANE|EUROPEEN|RECU|EMIS|PERMANENT|PERM|"
    r"EN VOTRE FAVEUR|EN FAVEUR DE|POUR|DE|A|WEB|DU|VERS)\b)*:?",
    "cheque": r"(?:CHEQUE|CHQ)\b\.?(?: (?:EMIS|N)\b)*",
    # Here the words that tell the kind are all there is, and stay.
    "fee": r"\*? ?(?=(?:F (?=COTIS|FRAIS|COM|TENUE|ABON|RELEVE|VIR|CARTE)|CION |COTIS"
    r"|FRAIS|COM(?:M|MISSIONS?|MS)?\b|INTERETS?\b|AGIOS|TENUE DE C|ARRETE (?:DE|DU) C"
    r"|ARRETE (?:TRIM|MENS|ANN)|ABON(?:NEMENT|NT|N)? (?:OPTION|SMS|ALERTE|SERVICES? (?:DE )?BANQUE|BANQUE|E-?RELEVE)"
    r"|FORFAIT (?:DE )?(?:CONV|COMPTE|C/C|BANC)|CONVENTION (?:DE )?(?:SERVICE|COMPTE)|(?:OFFRE|PACK(?:AGE)?|FORMULE)"
    r" (?:DE )?(?:COMPTE|SERVICES? BANC)|DROITS? DE GARDE|LOC(?:ATION)? (?:DE )?COFFRE|LETTRE (?:D.)?INFO|MAJORATION"
    r" DECOUVERT|PENALITES? DECOUVERT|DECOUVERT\b)(?!.*\b(?:" + "|".join(_NO_FEE) + r")))",
}
_HEAD: Final = re.compile(" *(?:" + "|".join(f"(?P<{name}>{head})" for name, head in _HEADS.items()) + ")")
_KINDS: Final = {name: position for position, name in enumerate(OPERATIONS)}
# Words that any payment has, letters that stand for a masked number, or a single letter.
_NAMELESS: Final = re.compile(
    r"(?:(?:PAIEMENTS?|PAIEMT|PAYMENT|ACHATS?|FACTURES?|OPERATIONS?|TRANSACTIONS?|MOUVEMENTS?|CARTES?|BANCAIRES?|CARD|CB"
    r"|VISA|MASTERCARD|MAESTRO|SANS CONTACT|CONTACT|INTERNET|EN LIGNE|VIREMENTS?|VIR|PRELEVEMENTS?|PRLV|SEPA|RECU|EMIS"
    r"|CHEQUES?|CHQ|DEBIT|CREDIT|REMISE|VERSEMENT|DIVERS|AUTRES?|INCONNUE?|UNKNOWN|NULL|NONE|NAN|NA|TEST|EUR|EUROS?|DATE"
    r"|NUMERO|REFERENCE|REF|PAR|DU|DE|LE|LA|AU|POUR|([A-Z])\1{2,}|\d+)(?: |$))*+|[A-Z0-9]"
)
_SEPARATORS: Final = re.compile(r"[^A-Z0-9 ]+")
_SHOPPED: Final = frozenset({CARD, REFUND, CASH})
_TAIL: Final = frozenset({"CARTE", "CART", "CAR", "CB", "DU", "LE", "FR", "FRA", "FRANCE", "CEDEX", "A"})
_JOINING: Final = frozenset({"DE", "DU", "DES", "D", "L", "LA", "ET", "AU", "SUR"})
_DEPARTMENT: Final = re.compile(r"\d{2,5}(?=[A-Z]{3})")
_DISTRICT: Final = re.compile(r"\d{1,2}(?:E|EME|ER)$")
_LAST_WORDS: Final = frozenset(town.split()[-1] for town in CITIES)
_FIRST_WORDS: Final = frozenset(town.split()[0] for town in CITIES)


def parsed(labels: Sequence[str]) -> Parsed:
    """Parse a batch of labels.

    Parameters
    ----------
    labels : sequence of str, length N
        As the bank gives them, in any case, with or without accents.

    Returns
    -------
    Parsed
        A text is empty where a label names no one, as a cheque's.
    """
    # What is long is rare, and not worth remembering.
    found = [_parse(label) if len(label) <= LONGEST_TEXT else _parse.__wrapped__(label) for label in labels]
    return Parsed(np.array([operation for operation, _ in found], np.int64), [text for _, text in found])


@functools.lru_cache(maxsize=1 << 14)  # a user's history comes with every request
def _parse(label: str) -> tuple[int, str]:
    label = label[:LONGEST_LABEL]
    bare = label.upper() if label.isascii() else label.upper().translate(_BARE)
    number = _NUMBER.fullmatch
    line = " ".join([word for word in bare.split() if word not in _FIELDS and (word.isalpha() or number(word) is None)])
    head = _HEAD.match(line)
    if head is None or head.lastgroup is None:
        return OTHER, _without_place(_SEPARATORS.sub(" ", line).split(), False)
    operation = _KINDS[head.lastgroup]
    rest = _SEPARATORS.sub(" ", line[head.end() :])
    return operation, _without_place(rest.split(), operation in _SHOPPED)


def find_nameless(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which cleaned texts name no one: without a letter, or of words that only say that, or where, was paid.

    Parameters
    ----------
    texts : sequence of str, length N
        Of `parsed`.

    Examples
    --------
    >>> find_nameless(["", "PAIEMENT CARTE", "XXXX", "H M", "CARTE D OR"]).tolist()
    [True, True, True, False, False]
    """
    return np.array([text in CITIES or _NAMELESS.fullmatch(text) is not None for text in texts], np.bool_)


def plain(text: str) -> str:
    """Return any text as a parsed label's words are: of A to Z and 0 to 9, single spaces between.

    Examples
    --------
    >>> plain("Intermarché, l'été")
    'INTERMARCHE L ETE'
    """
    return " ".join(_SEPARATORS.sub(" ", text.upper().translate(_BARE)).split())


def _without_place(words: list[str], shopped: bool) -> str:
    """Drop the words that say where, and what is left of a card's number, at both ends."""
    while words and words[-1] in _TAIL and words != ["C", "A"]:
        words.pop()
    if shopped and len(words) > 1:
        words = _without_city(words)
    text = " ".join(words)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT + 1].rpartition(" ")[0] or text[:LONGEST_TEXT]


def _without_city(words: list[str]) -> list[str]:
    last = len(words)
    if words[-1][0].isdigit():
        if _DISTRICT.match(words[-1]):
            last -= 1  # LYON 3EME
        else:
            words[-1] = _DEPARTMENT.sub("", words[-1])  # 69LYON
    if words[last - 1] in _LAST_WORDS:
        for count in range(min(LONGEST, last - 1), 0, -1):
            if " ".join(words[last - count : last]) in CITIES and words[last - count - 1] not in _JOINING:
                return words[: last - count]
    # Some banks write the place first; a name that is only a place stays.
    if words[0] in _FIRST_WORDS:
        for count in range(min(LONGEST, len(words) - 1), 0, -1):
            if " ".join(words[:count]) in CITIES:
                return words[count:]
    return words

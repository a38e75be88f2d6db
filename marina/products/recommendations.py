"""Sentences for people, in French and English, made from a forecast's findings and nothing else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LANGUAGES: Final = ("fr", "en")

ALERTING: Final = ("overspend",)
"""Kinds of findings that are worth an alert before the month is over."""


@dataclass(frozen=True)
class Recommendation:
    """One thing that a household may want to do.

    Attributes
    ----------
    id
        The same for the same user, month and finding.
    kind
        The finding's.
    text
        By language.
    finding
        What it was made from.
    """

    id: str
    kind: str
    text: Mapping[str, str]
    finding: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is answered."""
        return {"id": self.id, "kind": self.kind, "text": dict(self.text), "finding": dict(self.finding)}


def recommend(user: str, month: str, finding: Mapping[str, Any]) -> Recommendation | None:
    """Phrase a finding; None of a kind that is not known here."""
    phrase = _PHRASES.get(str(finding.get("kind")))
    if phrase is None:
        return None
    about = (user, month, finding["kind"], finding.get("category", ""), finding.get("label", ""))
    ident = hashlib.sha256("\0".join(map(str, about)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    french, english = phrase(finding)
    return Recommendation(ident, str(finding["kind"]), {"fr": french, "en": english}, finding)


def _euros(value: float) -> tuple[str, str]:
    """Return an amount as it is written in France, and in England."""
    plain = f"{abs(value):,.2f}"
    return plain.replace(",", "\u202f").replace(".", ",") + " €", f"€{plain}"


def _overspend(one: Mapping[str, Any]) -> tuple[str, str]:
    over, forecast, limit, left = (
        _euros(float(value))
        for value in (
            one["over_eur"],
            one["forecast_eur"],
            one["limit_eur"],
            max(0.0, float(one["limit_eur"]) - float(one["spent_eur"])),
        )
    )
    chance = round(100 * float(one["probability"]))
    budget = one["against"] == "budget"
    french = (
        f"« {one['category']} » devrait atteindre {forecast[0]} ce mois-ci, soit {over[0]} de plus que "
        f"{'votre budget' if budget else 'la limite habituelle'} de {limit[0]} (probabilité : {chance} %). "
        f"Il reste {left[0]} jusqu'à cette limite."
    )
    english = (
        f"“{one['category']}” will probably reach {forecast[1]} this month: {over[1]} more than "
        f"{'your budget' if budget else 'the usual limit'} of {limit[1]} (probability {chance} %). "
        f"{left[1]} are left until that limit."
    )
    return french, english


def _trend(one: Mapping[str, Any]) -> tuple[str, str]:
    change, last = _euros(float(one["change_per_year_eur"])), _euros(float(one["last_12_months_eur"]))
    up = one["direction"] == "up"
    french = (
        f"Vos dépenses « {one['category']} » {'augmentent' if up else 'diminuent'} d'environ {change[0]} par an "
        f"({last[0]} sur les douze derniers mois). "
        + ("Cherchez ce qui a changé d'une année à l'autre." if up else "Vous pouvez en baisser le budget.")
    )
    english = (
        f"Your spending on “{one['category']}” {'rises' if up else 'falls'} by about {change[1]} a year "
        f"({last[1]} over the last twelve months). "
        + ("Look for what changed from year to year." if up else "You can lower its budget.")
    )
    return french, english


def _growth(one: Mapping[str, Any]) -> tuple[str, str]:
    before, after, extra = (_euros(float(one[name])) for name in ("from_eur", "to_eur", "extra_eur_per_year"))
    french = (
        f"L'abonnement « {one['label']} » est passé de {before[0]} à {after[0]} par mois depuis le {one['since']} : "
        f"{extra[0]} de plus par an. Comparez les offres ou résiliez-le."
    )
    english = (
        f"The subscription “{one['label']}” went from {before[1]} to {after[1]} a month on {one['since']}: "
        f"{extra[1]} more a year. Compare offers, or cancel it."
    )
    return french, english


def _new(one: Mapping[str, Any]) -> tuple[str, str]:
    price = _euros(float(one["eur_per_month"]))
    year = _euros(12 * float(one["eur_per_month"]))
    french = (
        f"Nouvel abonnement « {one['label']} » depuis le {one['since']} : {price[0]} par mois, {year[0]} par an. "
        "Vérifiez qu'il est voulu."
    )
    english = (
        f"New subscription “{one['label']}” since {one['since']}: {price[1]} a month, {year[1]} a year. "
        "Check that it is wanted."
    )
    return french, english


_PHRASES: Final = {
    "overspend": _overspend,
    "trend": _trend,
    "subscription_growth": _growth,
    "new_subscription": _new,
}

"""By which metric each model is promoted, and how good it must be; what is not named here goes by the settings."""

from typing import Final

from marina.rollout.promotion import Rule
from marina.settings import Settings

RULES: Final = {
    "budget_categorizer": Rule("model_weighted_f1", 0.75),
    "budget_anomaly": Rule("auc", 0.8),
    "budget_forecast": Rule("wape", 0.5, less_is_better=True),
    "market_alerts": Rule("auc", 0.6),
    "code_risk": Rule("auc", 0.6),
    "code_anomaly": Rule("auc", 0.55),
    "code_bugs": Rule("auc", 0.6),
    "code_impact": Rule("rmse", 0.5, less_is_better=True),
    "code_meta": Rule("auc", 0.6),
}
"""Models whose answers are no single label, or have the metric by another name; `scripts/auto_promote.py` can be told
otherwise."""


def rule_of(model: str, settings: Settings) -> Rule:
    """Return a model's rule."""
    return RULES.get(model, Rule(settings.promotion_metric, settings.min_f1_threshold))

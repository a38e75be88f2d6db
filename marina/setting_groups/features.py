from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REDIS = ("redis://", "rediss://", "unix://")


class FeatureSettings(BaseSettings):
    """Where features are kept for serving, for how long they count, and how they are checked."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    ml_feature_store_url: SecretStr = SecretStr("")
    """Redis that serves features, such as redis://127.0.0.1:6379/0 (7.0 or newer; rediss:// for TLS). Empty: the \
database and this process's memory do."""

    ml_feature_ttl_s: dict[str, float] = {}
    """Seconds after which a view's features are stale, as JSON: {"market_window":7200}. A view not named has its own \
(docs/FEATURES.md)."""

    ml_feature_cache_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    """What the feature cache of one process may hold. 0: none."""

    ml_feature_parity_share: float = Field(default=0.001, ge=0, le=1)
    """Share of the served vectors that are kept to be compared with the offline store (scripts/features.py parity)."""

    @field_validator("ml_feature_store_url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(REDIS):
            raise ValueError(f"expected a URL that begins with {', '.join(REDIS)}")  # never quoted: may hold a password
        return url

    @field_validator("ml_feature_ttl_s")
    @classmethod
    def _are_positive(cls, ttl_s: dict[str, float]) -> dict[str, float]:
        if any(not 0 < seconds < 1e9 for seconds in ttl_s.values()):
            raise ValueError("expected seconds above 0")
        return ttl_s

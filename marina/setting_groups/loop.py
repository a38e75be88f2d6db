from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from marina.setting_types import Port


class LoopSettings(BaseSettings):
    """When new rows are loaded, models trained and versions promoted."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    load_share: float = Field(default=0.03, gt=0, le=1)
    """By how much each week's release lets a family's visible rows grow, as a share of them (scripts/load_data.py)."""

    load_first_share: float = Field(default=0.2, gt=0, le=1)
    """The share of a family's imported rows that its first release makes visible."""

    auto_promotion_enabled: bool = True
    """Whether a version that is to be promoted by scripts/auto_promote.py begins its canary rollout; else only the \
decision is recorded."""

    rollout_policy: Path | None = None
    """How canaries are judged and advance, and how many people have to approve them: a file with the entries of \
marina/rollout/policy/default.yaml, which holds where this is empty."""

    min_f1_threshold: float = Field(default=0.75, ge=0, le=1)
    """What the promotion metric must be strictly above, of models without a rule of their own (docs/DECISIONS.md)."""

    promotion_metric: str = "weighted_f1"
    """That metric, as training logs it."""

    ml_slice_bound: float = Field(default=0.05, ge=0)
    """By how much the mean loss of a slice of the held-out rows (a label, a group) may grow in a promotion: 0.05 is \
five points of errors."""

    ml_auto_retrain: bool = False
    """Whether drift above the next setting is a reason to train without a person's decision."""

    ml_drift_threshold: float = Field(default=0.15, gt=0)
    """That drift: an effect, of the newest drift report."""

    ml_retrain_labels: int = Field(default=1000, ge=1)
    """Labels since the last training that are a reason to train."""

    ml_training_limit_s: float = Field(default=14_400.0, gt=0)
    """An automatic training that takes longer is ended."""

    ml_training_schedule: str = "Mon 02:00"
    """When scripts/loop.py loads, trains and decides."""

    ml_daily_schedule: str = "01:00"
    """When it asks again whether labels or a decision about drift are a reason to train."""

    ml_time_zone: str = "Europe/Paris"
    """Whose clocks these times are of."""

    ml_loop: bool = False
    """Whether the server runs the loop beside itself (scripts/loop.py daemon): trainings take its cores and memory. For
    a checkout: an image that serves alone has no training/, and does not start so."""

    ml_families: list[str] = []
    """Families that the loop and the orchestrator run, as a JSON list: ["catalog"]. Empty: every one in training/."""

    ml_training_data: dict[str, str] = {}
    """What a family trains on where no load says, as JSON: {"catalog":"/data/all.csv"}. Else generated data."""

    ml_held_out: dict[str, str] = {}
    """Rows that no training sees, to compare a family's versions on, as JSON: {"catalog":"/data/kept_aside.csv"}."""

    ml_retry_pause_s: float = Field(default=600.0, gt=0)
    """Pause before a failed step's second attempt; before the third, which is the last, it is twice as long."""

    ml_commands: Path | None = None
    """Folder of the commands that are the loop's steps. Empty: scripts/."""

    orchestrator_port: Port = 3000
    """Port on 127.0.0.1 of the orchestrator's pages (scripts/orchestrator.py)."""

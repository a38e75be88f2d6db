from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_ROOT = Path(__file__).resolve().parents[2]


class LiveSettings(BaseSettings):
    """Live signing: who may stream for how long, and when an answer is given."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    live_sessions: int = Field(default=200, ge=1, le=10_000)
    """How many live signing sessions may be connected at once; one more is closed with 1013."""

    live_idle_s: float = Field(default=60.0, gt=0)
    """A live session that sends nothing for this long is ended."""

    live_resume_s: float = Field(default=30.0, ge=0)
    """How long a live session whose connection was lost can be resumed."""

    live_confidence: float | None = Field(default=None, ge=0, le=1)
    """Below this probability a live session is told the guesses, and no sign. Without it an answer is a sign where \
the model calls it confident: by its evaluation nine of ten such answers are right. `python -m \
marina.products.live.confidence` finds it for an archive by clips of your own."""

    live_partial_s: float = Field(default=0.5, gt=0)
    """Time between guesses while a sign is being recorded."""

    live_model: str = Field(default="signflow", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The model that live sessions ask."""

    live_assets: Path = _ROOT / ".marina" / "live"
    """Folder of the browser's landmark models, as make live-assets writes it. Where it is absent the page offers its \
demo only."""

    live_demo: Path = _ROOT / "sample_request.json"
    """What the page's demo plays: a request as SignFlow takes it, with frames, or instances one after the other."""

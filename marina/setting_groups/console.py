from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ConsoleSettings(BaseSettings):
    """Who may sign in to the console, and for how long."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    console_session_hours: float = Field(default=12.0, gt=0, le=168)
    """After this a person signs in to the console again."""

    console_attempts: int = Field(default=10, ge=1)
    """Wrong tokens that one address may offer the console in five minutes; then it has to wait."""

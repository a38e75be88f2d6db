from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class TechniqueSettings(BaseSettings):
    """Techniques that are switched for a whole deployment."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    tta_models: list[ModelName] = []
    """Models of which every request has test-time augmentation (`signflow`: the mean over five views, at two to four \
times the cost), unless it says `"tta": false` or `X-TTA: false` itself."""

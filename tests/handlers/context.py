"""What TorchServe hands to a handler, without TorchServe: enough to drive one in this process."""

from pathlib import Path
from typing import Any

import yaml


class Context:
    """One batch's context, like `ts.context.Context`."""

    def __init__(self, folder: Path, headers: list[dict[str, Any]] | None = None) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": None}
        self.model_yaml_config = yaml.safe_load((folder / "model-config.yaml").read_text())
        self.headers = headers or []
        self.statuses = [200] * len(self.headers)
        self.content_types = [""] * len(self.headers)
        self.response_headers: list[dict[str, str]] = [{} for _ in self.headers]

    def get_all_request_header(self, index: int) -> dict[str, Any]:
        return self.headers[index]

    def get_request_id(self, index: int) -> str:
        return f"server-{index}"

    def set_response_content_type(self, index: int, value: str) -> None:
        self.content_types[index] = value

    def set_response_header(self, index: int, key: str, value: str) -> None:
        self.response_headers[index][key] = value

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = code

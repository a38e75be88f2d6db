import io
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from marina.serving import torchserve, worker
from tests.serving import PREDICTS, ROOT, Server, archive, running

BYTES = '''
import json
import sys


class Bytes:
    """Answers with what is loaded, as bytes, as text or as an object."""

    def initialize(self, context):
        pass

    def handle(self, data, context):
        said = {"torch": "torch" in sys.modules, "path": sys.path, "argv": sys.argv}
        whole = json.dumps(said)
        return [{b"text": whole, b"object": said}.get(bytes(one["body"]), whole.encode()) for one in data]
'''

TENSORS = '''
import torch
import torch.nn


class Tensors:
    """Needs torch, and answers with a tensor."""

    def initialize(self, context):
        self.layer = torch.nn.Linear(2, 1)

    def handle(self, data, context):
        return [torch.arange(3) for one in data]
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("archives")
    with running([archive(folder, "plain", code=BYTES), archive(folder, "tensors", code=TENSORS)], PREDICTS) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bytes", "text", "object"])
def test_a_worker_whose_handler_needs_no_torch_has_none(server: Server, form: str) -> None:
    answer = httpx.post(f"{server.url}/predictions/plain", content=form, headers={"Content-Type": "application/json"})
    assert answer.json()["torch"] is False
    assert str(ROOT / "marina") not in answer.json()["path"]
    assert answer.json()["argv"][0].endswith("ts/model_service_worker.py")


@pytest.mark.slow
def test_a_handler_that_wants_torch_has_the_real_one(server: Server) -> None:
    import torch

    answer = httpx.post(f"{server.url}/predictions/tensors", content="{}", headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert torch.load(io.BytesIO(answer.content), weights_only=True).tolist() == [0, 1, 2]


STAND_IN = """
import sys
from marina.serving.worker import without_torch
assert without_torch() == ""
from ts.protocol import otf_message_handler as protocol
assert protocol.torch.__class__.__module__ == "marina.serving.worker"
for answer in (b"x", "x", {"x": 1}, [1.5], None, object):
    assert not isinstance(answer, protocol.torch.Tensor)
assert "torch" not in sys.modules
import torch
assert torch is not protocol.torch
assert isinstance(torch.ones(1), protocol.torch.Tensor)
assert isinstance(torch.nn.Parameter(torch.ones(1)), protocol.torch.Tensor)
assert not isinstance([1.5], protocol.torch.Tensor)
assert protocol.torch.save is torch.save
"""


def test_the_stand_in_tells_exactly_torch_tensors() -> None:
    subprocess.run([sys.executable, "-c", STAND_IN], cwd=ROOT, check=True, timeout=120)


def test_what_ts_wants_of_torch_is_what_the_stand_in_has() -> None:
    source = (torchserve.installed() / "protocol" / "otf_message_handler.py").read_text()
    assert [line.strip() for line in source.splitlines() if "torch" in line] == [
        "import torch",
        "elif isinstance(val, torch.Tensor):",
        "torch.save(val, buff)",
    ]


def test_another_release_of_torchserve_is_left_alone_and_this_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ts", SimpleNamespace(__version__="0.13.0"))
    before = dict(sys.modules)
    assert "0.13.0" in worker.without_torch()
    assert dict(sys.modules) == before

"""A sample request: one of the golden inputs that every archive carries, sent as a client would."""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import httpx
import numpy as np

from archives.certificate import read_cases
from archives.contract import read_contract
from rollout.declaration import Declared
from settings import Settings

MEMBERS = ("contract.json", "certificate.npz")
SHOWN_ANSWERS = 5


def golden_input(archive: Path) -> tuple[str, bytes] | None:
    """Take the first golden input of an archive, as an ``application/x-npy`` body; None if it carries none.

    Returns
    -------
    description
        What it is, for people.
    body
        The first item of the first input, without the batch axis.
    """
    with zipfile.ZipFile(archive) as content, tempfile.TemporaryDirectory(prefix="marina-sample-") as folder:
        if not set(MEMBERS) <= set(content.namelist()):
            return None
        for member in MEMBERS:
            content.extract(member, folder)
        contract = read_contract(Path(folder) / "contract.json")
        cases = read_cases(Path(folder) / "certificate.npz")
    case = max(cases, key=lambda case: case.inputs[contract.inputs[0].name].shape[1:2])
    array = case.inputs[contract.inputs[0].name][0]
    body = io.BytesIO()
    np.save(body, array, allow_pickle=False)
    return f"golden input {case.name}: {array.dtype} {list(array.shape)}", body.getvalue()


def ask(settings: Settings, ready: Iterable[Declared]) -> str:
    """Send each model a sample through the gateway; return requests and answers, for people."""
    token = next((token.get_secret_value() for token in settings.inference_tokens), None)
    headers = {"Content-Type": "application/x-npy"} | ({"Authorization": f"Bearer {token}"} if token else {})
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    shown = []
    for one in ready:
        sample = golden_input(one.archive)
        if sample is None:
            continue
        path = f"/predictions/{one.model}"
        with httpx.Client(base_url=f"http://{host}:{settings.inference_port}", timeout=60) as client:
            try:
                answer = client.post(path, content=sample[1], headers=headers)
            except httpx.HTTPError as error:
                shown.append(f"POST {path}  ({sample[0]})\nno answer: {error}")
                continue
        try:
            body = answer.json()
            if isinstance(body.get("predictions"), list):
                body["predictions"] = body["predictions"][:SHOWN_ANSWERS]
            text = json.dumps(body, indent=2, ensure_ascii=False)
        except ValueError:
            text = answer.text
        shown.append(f"POST {path}  ({sample[0]})\n{answer.status_code}  X-Request-Id: ")
        shown[-1] += (
            f"{answer.headers.get('x-request-id')}  X-Model-Version: {answer.headers.get('x-model-version')}\n{text}"
        )
    return "\n".join(shown)

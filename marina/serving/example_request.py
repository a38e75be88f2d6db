"""A sample request: the example that every archive carries, sent as a client would."""

import json
from collections.abc import Iterable
from pathlib import Path

import httpx

from archives.archive import open_archive
from marina.releases.declarations import Declared
from marina.serving.health_check import own_client
from marina.settings import Settings

SHOWN_CHARACTERS = 120
SHOWN_LINES = 20  # a longer answer is cut, so that eleven models fit a screen or two


def example(archive: Path) -> bytes:
    """Return an archive's example request, a JSON body."""
    return bytes(open_archive(archive).members["example.json"])


def ask(settings: Settings, ready: Iterable[Declared]) -> str:
    """Send each model its example through the gateway; return requests and answers, for people."""
    token = next((token.get_secret_value() for token in settings.inference_tokens), None)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    shown = []
    with own_client(settings, timeout_s=60) as client:
        for one in ready:
            body = one.example
            text = body.decode()
            shown.append(f"POST /predictions/{one.model}  ({len(body):,} bytes of JSON)")
            shown.append(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} …")
            try:
                answer = client.post(f"/predictions/{one.model}", content=body, headers=headers)
            except httpx.HTTPError as error:
                shown.append(f"no answer: {error}")
                continue
            shown.append(f"{answer.status_code}  X-Model-Version: {answer.headers.get('x-model-version')}")
            lines = json.dumps(answer.json(), indent=2, ensure_ascii=False).splitlines()
            if len(lines) > SHOWN_LINES:
                lines = [*lines[:SHOWN_LINES], f"  … {len(lines) - SHOWN_LINES} more lines"]
            shown += lines
    return "\n".join(shown)

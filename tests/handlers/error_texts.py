"""The texts of all refusals, in one file, error_texts.json: other tests go by status, code and field.

After a text was changed on purpose, ``python -m tests.handlers.error_texts`` writes it again; read the difference.
"""

import json
import re
from pathlib import Path

from tests.handlers.every import MODELS, ask, bad_of, sweep

TEXTS = Path(__file__).with_name("error_texts.json")
LONGEST = 400
PLACE = re.compile(r"column \d+ near '.*?'(?=; )")
"""Where in a body: its numbers may have a digit more on another processor."""


def texts(model: str) -> dict[str, str]:
    """Return what a model says of each bad request, by the request's name."""
    said = {}
    for name, bad in bad_of(model).items():
        [(status, body)] = ask(model, (bad.body, bad.headers))
        error = body["error"]
        said[name] = f"{status} {error['code']}: {error['message']}"[:LONGEST]
        said[name] = PLACE.sub("column … near …", said[name])
    return said


if __name__ == "__main__":
    TEXTS.write_text(json.dumps({model: texts(model) for model in MODELS}, indent=1, ensure_ascii=False) + "\n")
    sweep()

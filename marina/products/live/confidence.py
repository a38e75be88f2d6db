"""From which probability on an answer of a live session is to be a sign: found by clips of one's own, of known signs.

    python -m marina.products.live.confidence --clips clips.json --right 0.9

Clips are a JSON list of ``{"sign": NAME, "frames": [[225 numbers], …]}``, of people and takes that the model was not
trained on. Each is asked of the running server; the smallest probability is printed above which so many of the answers
are right by a lower bound (at least 25 clips for nine of ten), for MARINA_LIVE_CONFIDENCE, and how many of the clips
would be answered. Answers that the model itself calls
unusual are no signs, and count as not answered. Without that setting the model's own threshold counts, which an archive
of SignFlow has from the people that its training was evaluated on (models/signflow/abstention.py).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import numpy as np
import orjson

from archives.errors import MarinaError
from marina.processes.console import show
from marina.products.live.recogniser import Recogniser
from marina.serving.gateway_pool import open_client
from marina.settings import Settings, read_settings
from models.signflow.abstention import RIGHT, choose
from models.signflow.sequences import as_frames


class ConfidenceError(MarinaError):
    """The clips are no use for this; the message says why."""


async def ask(settings: Settings, path: Path) -> tuple[list[float], list[bool]]:
    """Have the server answer clips; return the probability of each one's first sign, and whether it is right."""
    probabilities, correct = [], []
    token = next((token.get_secret_value() for token in settings.inference_tokens), "")
    try:
        clips = [(str(one["sign"]), as_frames(np.array(one["frames"]))) for one in orjson.loads(path.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfidenceError(f"{path}: expected a list of clips with sign and frames, got: {error}") from error
    async with open_client(settings, settings.request_timeout_s) as client:
        recogniser = Recogniser(client, settings.live_model)
        for sign, frames in clips:
            answer = await recogniser.ask(frames, "confidence", token)
            best = answer["predictions"][0]
            probabilities.append(0.0 if answer.get("unusual") else best["probability"])
            correct.append(best["label"] == sign and not answer.get("unusual"))
    return probabilities, correct


def main(argv: list[str] | None = None) -> int:
    """Print the threshold; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, metavar="FILE", help="clips of known signs, as JSON")
    parser.add_argument(
        "--right", type=float, default=RIGHT, help="share of answers to be right (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    try:
        probabilities, correct = asyncio.run(ask(read_settings(), options.clips))
        chosen = choose(probabilities, correct, options.right)
    except (MarinaError, ValueError) as error:
        show(error, sys.stderr)
        return 1
    if not chosen.answered:
        show(f"no threshold has {options.right:.0%} of its answers right for sure, by {len(correct)} clips", sys.stderr)
        return 1
    show(f"MARINA_LIVE_CONFIDENCE={chosen.confidence:.4g}")
    show(f"{chosen.answered:.0%} of {len(correct)} clips are answered, {chosen.right:.1%} of these rightly")
    return 0


if __name__ == "__main__":
    sys.exit(main())

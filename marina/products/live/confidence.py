"""From which probability on an answer of a live session is to be a sign: found by clips of known signs.

    python -m marina.products.live.confidence --clips clips.json --right 0.9

Clips are a JSON list of ``{"sign": NAME, "frames": [[225 numbers], …]}``, of people and takes that the model was not
trained on. Each is asked of the running server; the smallest probability is printed above which so many of the answers
are right, for MARINA_LIVE_CONFIDENCE, and how many of the clips would be answered. Answers that the model itself calls
unusual are no signs, and count as not answered.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from archives.errors import MarinaError
from marina.processes.console import show
from marina.products.live.recogniser import Recogniser
from marina.serving.gateway_pool import open_client
from marina.settings import Settings, read_settings
from models.signflow.sequences import as_frames


class ConfidenceError(MarinaError):
    """The clips are no use for this; the message says why."""


class Chosen(NamedTuple):
    """A threshold, and what it does to the clips that it was chosen by.

    Attributes
    ----------
    confidence
        Answers at least as probable are signs; 1 where no threshold is good enough.
    right
        The share of them that are right.
    answered
        The share of all clips that get one.
    """

    confidence: float
    right: float
    answered: float


def choose(probabilities: Sequence[float], correct: Sequence[bool], wanted: float) -> Chosen:
    """Return the smallest threshold above which a wanted share of the answers is right.

    Parameters
    ----------
    probabilities
        Of each clip's most probable sign.
    correct
        Whether that is the clip's sign.
    wanted
        The share.

    Raises
    ------
    ConfidenceError
        If there is no clip.
    """
    if not probabilities:
        raise ConfidenceError("expected clips that are answered, got none")
    order = np.argsort(-np.asarray(probabilities, np.float64), kind="stable")
    ordered = np.asarray(probabilities, np.float64)[order]
    share = np.cumsum(np.asarray(correct, np.float64)[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    good = np.flatnonzero((share >= wanted) & last_of_equals)
    if not len(good):
        return Chosen(1.0, 0.0, 0.0)
    at = int(good[-1])
    return Chosen(float(ordered[at]), float(share[at]), (at + 1) / len(order))


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
    parser.add_argument("--right", type=float, default=0.9, help="share of answers to be right (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        probabilities, correct = asyncio.run(ask(read_settings(), options.clips))
        chosen = choose(probabilities, correct, options.right)
    except MarinaError as error:
        show(error, sys.stderr)
        return 1
    show(f"MARINA_LIVE_CONFIDENCE={chosen.confidence:.4g}")
    show(f"{chosen.answered:.0%} of {len(correct)} clips are answered, {chosen.right:.1%} of these rightly")
    return 0


if __name__ == "__main__":
    sys.exit(main())

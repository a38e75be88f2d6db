"""Synthetic signing: signs put together from phonology, performed by different signers before different cameras.

A sign is a handshape (or a change from one to another), a place on the body, a movement, an orientation, and one or two
hands (Stokoe, 1960; Battison, 1978). For each there is a twin that differs only in the order of events: what rises in
one falls in the other, what opens in one closes in the other. So no summary that forgets time can tell more than half
of them apart. Signers differ in body, speed, dominant hand, accent and sway; recordings in camera, picture format,
tracking noise and lost hands. It is no language; it exercises the whole path without a recording of anyone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.signflow.landmarks import LEFT_HAND, MIRROR, POSE, RIGHT_HAND, WIDTH
from training.signflow.clips import Clips
from training.signflow.synthetic import skeleton as anatomy

Array = npt.NDArray[Any]

# Curl of thumb, index, middle, ring, pinky, and spread.
HANDSHAPES: Final = {
    "fist": (0.8, 1, 1, 1, 1, 0),
    "flat": (0.3, 0, 0, 0, 0, 0),
    "five": (0, 0, 0, 0, 0, 1),
    "point": (0.8, 0, 1, 1, 1, 0),
    "vee": (0.8, 0, 0, 1, 1, 1),
    "thumb": (0, 1, 1, 1, 1, 0),
    "pinky": (0.8, 1, 1, 1, 0, 0),
    "horns": (0, 0, 1, 1, 0, 0.5),
    "claw": (0.4, 0.5, 0.5, 0.5, 0.5, 0.8),
    "beak": (0.7, 0.6, 0.6, 0.6, 0.6, 0),
}
# Of the right wrist, in shoulder widths from between the shoulders.
LOCATIONS: Final = {
    "forehead": (-0.28, -0.75, -0.45),
    "chin": (-0.12, -0.3, -0.5),
    "chest": (-0.2, 0.4, -0.45),
    "neutral": (-0.45, 0.5, -0.75),
    "side": (-0.95, 0.05, -0.5),
    "belly": (-0.25, 0.95, -0.5),
}
MOVEMENTS: Final = ("rise", "aside", "approach", "arc", "circle", "stir", "wave", "turn")
# About x, y, z from "fingers up, palm to the camera".
ORIENTATIONS: Final = {
    "out": (0, 0, 0),
    "in": (0, np.pi, 0),
    "edge": (0, np.pi / 2, 0),
    "down": (-1.3, 0, 0.4),
    "up": (1.3, 0.3, 0),
}
HANDS: Final = ("one", "both", "base")  # base: the other hand is held still below the one that moves

_REST = np.array([-0.6, 1.35, -0.1])  # a wrist that is not signing
_BELOW = np.array([-0.1, 0.35, 0.05])  # where a still hand is held, from the moving one's place
_SHAPES = np.array(list(HANDSHAPES.values()), dtype=np.float64)
_PLACES = np.array(list(LOCATIONS.values()))
_TURNS = np.array(list(ORIENTATIONS.values()), dtype=np.float64)
_GRAMMAR: Final = 20_26  # seed of the lexicon: the signs are the same whatever the seed of the performances


@dataclass(frozen=True)
class Synthesis:
    """What to synthesise: `signs` x `signers` x `takes` clips, all following from `seed`."""

    signs: int = 32
    signers: int = 24
    takes: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Sign:
    """One sign's phonology: positions in the tables above; `backwards` is the twin with time reversed."""

    shape: int
    shape_after: int
    location: int
    movement: int
    orientation: int
    hands: int
    backwards: bool

    @property
    def name(self) -> str:
        """A readable name, unique in a lexicon."""
        shapes, places = list(HANDSHAPES), list(LOCATIONS)
        order = (self.shape_after, self.shape) if self.backwards else (self.shape, self.shape_after)
        shape = "-".join(shapes[i] for i in dict.fromkeys(order))
        facing, hands = list(ORIENTATIONS)[self.orientation], HANDS[self.hands]
        return f"{places[self.location]}.{shape}.{facing}.{MOVEMENTS[self.movement]}{'-back' * self.backwards}.{hands}"


def lexicon(signs: int) -> tuple[Sign, ...]:
    """Return that many signs: always the same ones, in twins, any two pairs differing in at least three parameters.

    Raises
    ------
    ValueError
        If more are asked for than the phonology holds apart (about 200), or fewer than 2.
    """
    rng = np.random.default_rng(_GRAMMAR)
    sizes = np.array([len(_SHAPES), len(_SHAPES), len(_PLACES), len(MOVEMENTS), len(_TURNS), len(HANDS)])
    chosen: list[Array] = []
    for _ in range(200 * signs):
        if 2 * len(chosen) >= signs >= 2:
            return tuple(_sign(row, back) for row in chosen for back in (False, True))[:signs]
        row = rng.integers(sizes)
        if rng.random() < 0.5:
            row[1] = row[0]  # half the signs keep their handshape
        if all((row != other).sum() >= 3 for other in chosen):
            chosen.append(row)
    raise ValueError(f"expected 2 to about 200 signs, got {signs}")


def _sign(row: Array, backwards: bool) -> Sign:
    shape, after, location, movement, orientation, hands = (int(value) for value in row)
    return Sign(shape, after, location, movement, orientation, hands, backwards)


def generate(what: Synthesis) -> Clips:
    """Perform every sign by every signer, `takes` times.

    Parameters
    ----------
    what
        How many, and the seed. Equal values give equal bytes.

    Returns
    -------
    Clips
        Raw landmarks in image coordinates; lost hands are zeros. Signers are named ``signer-07``.
    """
    rng = np.random.default_rng([what.seed, what.signs, what.signers, what.takes])
    signs = lexicon(what.signs)
    who = np.repeat(np.arange(what.signers), what.signs * what.takes)
    label = np.tile(np.repeat(np.arange(what.signs), what.takes), what.signers)
    signers = _Signers(rng, what.signers)
    lead, body, trail = _durations(rng, signers.speed[who])
    lengths = lead + body + trail
    clip = np.repeat(np.arange(len(who)), lengths)
    t = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    active = np.clip(_smooth((t + 1) / (lead + 1)[clip]) - _smooth((t - (lead + body)[clip]) / (trail + 1)[clip]), 0, 1)
    progress = _smooth((t - lead[clip]) / np.maximum(body - 1, 1)[clip])
    frames = _perform(rng, signs, signers, (who, label), _Time(clip, t, progress, active))
    frames = _film(rng, frames, clip, len(who))
    left = signers.left_handed[who][clip]
    frames[left] = frames[left][:, MIRROR] * [-1, 1, 1] + [1, 0, 0]
    frames = _track(rng, frames, clip, t, lengths)
    sequences = np.split(frames.reshape(len(frames), WIDTH).astype(np.float32), np.cumsum(lengths)[:-1])
    names = np.array([f"signer-{number:02d}" for number in range(what.signers)])
    return Clips(tuple(sequences), label.astype(np.int64), tuple(sign.name for sign in signs), names[who])


@dataclass(frozen=True)
class _Time:
    """Of each frame, [F]: its clip, its number there, how far the sign is, and how far the hands are from rest."""

    clip: Array
    t: Array
    progress: Array
    active: Array


class _Signers:
    """What makes each signer a different person; arrays over signers."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.speed = np.exp(rng.normal(0, 0.22, count))
        self.left_handed = rng.random(count) < 0.12
        self.stretch = np.exp(rng.normal(0, 0.07, (count, 1, 3)))  # of the trunk, per axis
        self.hand = np.exp(rng.normal(0, 0.1, count))
        self.amplitude = np.exp(rng.normal(0, 0.22, count))
        self.accent = rng.normal(0, 0.09, (count, len(_PLACES), 3))  # where this signer makes each place
        self.curl = rng.normal(0, 0.07, (count, 6))
        self.turn = rng.normal(0, 0.18, (count, 3))
        self.swivel = rng.normal(0.2, 0.25, count)
        self.sway = np.abs(rng.normal(0, 0.03, count))
        self.rest = _REST + rng.normal(0, 0.12, (count, 3)) * [1, 1.5, 0.5]


def _durations(rng: np.random.Generator, speed: Array) -> tuple[Array, Array, Array]:
    # frames at 30 per second: coming from rest, the sign, going back; recordings are often cut close
    count = len(speed)
    body = rng.uniform(20, 34, count) / speed
    ends = rng.uniform(0, 9, (2, count)) / speed
    lead, trail = np.rint(ends).astype(np.int64)
    return lead, np.clip(np.rint(body), 8, 80).astype(np.int64), trail


def _smooth(u: Array) -> Array:
    u = np.clip(u, 0, 1)
    eased: Array = u * u * u * (10 - 15 * u + 6 * u * u)  # least jerk (Flash & Hogan, 1985)
    return eased


def _path(movement: Array, u: Array) -> Array:
    # (F,), (F,) in 0..1 -> (F, 3): where the wrist is, about the place, for amplitude one
    line, turn, zero = u - 0.5, 2 * np.pi * u, np.zeros_like(u)
    paths = np.stack(
        [
            np.stack([zero, -line, zero], -1),
            np.stack([line, zero, zero], -1),
            np.stack([zero, zero, -line], -1),
            np.stack([line, -0.5 * np.sin(np.pi * u), zero], -1),
            np.stack([0.4 * np.cos(turn), 0.4 * np.sin(turn), zero], -1),
            np.stack([0.4 * np.cos(turn), zero, 0.4 * np.sin(turn)], -1),
            np.stack([0.25 * np.sin(2 * turn), -0.7 * line, zero], -1),
            np.stack([zero, 0.15 * line, zero], -1),
        ]
    )  # (8, F, 3)
    out: Array = paths[movement, np.arange(len(u))]
    return out


def _perform(
    rng: np.random.Generator, signs: tuple[Sign, ...], signers: _Signers, cast: tuple[Array, Array], time: _Time
) -> Array:
    who, label = cast
    clip, t, progress, active = time.clip, time.t, time.progress, time.active
    table = np.array(
        [(s.shape, s.shape_after, s.location, s.movement, s.orientation, s.hands, s.backwards) for s in signs]
    )
    first, after, place, movement, facing, hands, backwards = table[label].T
    count, person = len(who), who[clip]
    amplitude = 0.5 * signers.amplitude[who] * np.exp(rng.normal(0, 0.1, count))
    centre = _PLACES[place] + signers.accent[who, place] + rng.normal(0, 0.04, (count, 3))
    curl_noise = signers.curl[who] + rng.normal(0, 0.05, (count, 6))
    angle = _TURNS[facing] + signers.turn[who] + rng.normal(0, 0.1, (count, 3))
    elbows, wrists = np.empty((2, len(clip), 3)), np.empty((2, len(clip), 3))
    shapes = np.empty((2, len(clip), 21, 3))
    for side in range(2):  # 0 is the dominant hand
        u = np.where(backwards[clip] == 1, 1 - progress, progress)
        held = (hands[clip] == HANDS.index("base")) & (side == 1)
        signing = active * ((hands[clip] > 0) if side else 1.0)
        target = centre[clip] + np.where(held[:, None], _BELOW, _path(movement[clip], u) * amplitude[clip, None])
        rest = signers.rest[person] + 0.02 * np.sin(0.1 * t + clip)[:, None]
        wanted = rest + (target - rest) * signing[:, None]
        elbows[side], wrists[side] = anatomy.right_arm(wanted, signers.swivel[person])
        changed = _smooth(2 * u - 0.5)[:, None]
        shape = _SHAPES[first[clip]] * (1 - changed) + _SHAPES[after[clip]] * changed
        shape = np.where(held[:, None], _SHAPES[1], shape) + curl_noise[clip]
        shape = np.clip(0.3 + (shape - 0.3) * signing[:, None], -0.05, 1.05)  # a resting hand is half closed
        turned = angle[clip] * signing[:, None]
        turned[:, 1] += (~held & (movement[clip] == MOVEMENTS.index("turn"))) * (u - 0.5) * 2.4 * signing
        turned[:, 2] += np.pi * (1 - signing)  # and hangs down
        rotation = anatomy.rotations(turned)
        shapes[side] = anatomy.right_hand(wrists[side], rotation, shape[:, :5], shape[:, 5], signers.hand[person])
    sway = np.sin(0.15 * t + 1.7 * clip)[:, None, None] * signers.sway[person][:, None, None] * [1, 0, 0.5]
    still = anatomy.still_body()[None] + sway
    placed: Array = anatomy.assemble(still, elbows, shapes) * signers.stretch[person]
    return placed


def _film(rng: np.random.Generator, frames: Array, clip: Array, count: int) -> Array:
    angles = rng.normal(0, [0.08, 0.22, 0.06], (count, 3))
    size = rng.uniform(0.2, 0.42, count)  # shoulder width in picture heights
    format_ = np.where(rng.random(count) < 0.6, 4 / 3, 16 / 9)
    centre = np.stack([0.5 + rng.normal(0, 0.06, count), rng.uniform(0.38, 0.55, count), np.zeros(count)], axis=-1)
    scale = size[:, None] * np.stack([1 / format_, np.ones(count), 1 / format_], axis=-1)
    seen: Array = np.einsum("flj,fij->fli", frames, anatomy.rotations(angles)[clip], optimize=True)
    seen *= scale[clip][:, None]
    for part in (LEFT_HAND, RIGHT_HAND):  # a hand's depth is relative to its own wrist
        seen[:, part, 2] -= seen[:, part.start, 2][:, None]
    seen += centre[clip][:, None]
    return seen


def _track(rng: np.random.Generator, frames: Array, clip: Array, t: Array, lengths: Array) -> Array:
    count = len(lengths)
    noise = np.exp(rng.normal(np.log(0.004), 0.5, count))
    shake = rng.standard_normal(frames.shape, dtype=np.float32) * noise[clip].astype(np.float32)[:, None, None]
    shake[:, POSE, 2] *= 8  # depth of the body is little more than a guess
    frames = frames + shake
    clumsy = rng.beta(1.2, 12, count)  # share of frames in which a recording loses a hand
    for part in (LEFT_HAND, RIGHT_HAND):
        out_of_picture = (np.abs(frames[:, part, :2].mean(1) - 0.5) > 0.5).any(-1)
        flicker = rng.random(len(frames)) < clumsy[clip]
        start = rng.uniform(0, 1.0, count) * lengths
        gap = rng.uniform(2, 9, count) * (rng.random(count) < 0.15)
        gone = (t >= start[clip]) & (t < (start + gap)[clip])
        frames[:, part] *= ~(out_of_picture | flicker | gone)[:, None, None]
    return frames

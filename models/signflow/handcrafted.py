"""The 469 hand-crafted features of a frame: what a person would measure to tell signs apart.

They are the baseline that the graph network is compared with. All are made of what `LandmarkFeatures` gives: places
centred between the shoulders and in shoulder widths, hands from their wrists and in sizes of the hand. So none depends
on where in the picture the signer stands or how large, and "right" is the dominant hand. Those of `TURN_FREE` do not
depend on how the camera is turned either. What is missing is measured as zero.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from models.signflow.landmarks import LEFT_HAND, POSE_NAMES, RIGHT_HAND

UPPER: Final = (
    *("nose", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_hip", "right_hip", "left_wrist", "right_wrist"),
)
"""Pose landmarks that are measured; hands are measured against all but the wrists."""

GROUPS: Final = {
    "body_places": 39,
    "body_velocities": 39,
    "hand_places": 36,
    "hand_velocities": 36,
    "hand_speeds": 12,
    "hand_shapes": 120,
    "joint_angles": 30,
    "finger_curls": 10,
    "finger_spreads": 8,
    "tip_distances": 20,
    "tip_reaches": 20,
    "thumb_to_knuckles": 8,
    "hand_sizes": 2,
    "palm_directions": 12,
    "arm_angles": 8,
    "arm_directions": 12,
    "hands_to_body": 44,
    "hands_apart": 3,
    "hands_distances": 6,
    "hands_closing": 1,
    "presence": 3,
}
"""How many features each group has, in their order; docs/families/signflow_features.md describes them."""

HANDCRAFTED: Final = sum(GROUPS.values())
"""Features of a frame: 469."""

TURN_FREE: Final = frozenset(
    {
        *("hand_speeds", "joint_angles", "finger_curls", "finger_spreads", "tip_distances", "tip_reaches"),
        *("thumb_to_knuckles", "hand_sizes", "arm_angles", "hands_to_body", "hands_distances", "hands_closing"),
        "presence",
    }
)
"""Groups made of lengths and angles only."""

_SMALLEST = 1e-3  # shoulder widths, or sizes of a hand; keeps a collapsed bone from dividing by zero
_ANCHORS = slice(0, 11)  # of UPPER: all but the wrists
_ARMS = tuple(
    tuple(UPPER.index(f"{side}_{joint}") for joint in ("shoulder", "elbow", "wrist", "hip"))
    for side in ("left", "right")
)
_HANDS = slice(LEFT_HAND.start, RIGHT_HAND.stop)  # left, then right, 21 landmarks each
_WRIST_AND_TIPS = slice(0, None, 4)  # of a hand's 21
_TIPS = slice(4, None, 4)
_KNUCKLES = slice(1, None, 4)
_MIDDLE = 9  # knuckle of the middle finger
_FOUR = slice(5, None, 4)  # knuckles of index to pinky, which with the wrist make the palm


def _length(vectors: Tensor) -> Tensor:
    # vectors (3, ...) -> (...)
    return vectors.square().sum(0).sqrt()


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _length(vectors).clamp(min=_SMALLEST)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return (_unit(one) * _unit(other)).sum(0)


def _cross(one: Tensor, other: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = one.unbind(), other.unbind()
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _palms(hands: Tensor) -> Tensor:
    # hands (3, 2, 21, B, T) -> (3, 2, B, T)
    return (hands[:, :, 0] + hands[:, :, _FOUR].sum(2)) / 5


class HandcraftedFeatures(nn.Module):
    """Ten features per landmark to the 469 of a frame; no parameters."""

    upper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("upper", torch.tensor([POSE_NAMES.index(name) for name in UPPER]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Measure frames.

        Parameters
        ----------
        features
            float32 [10, 75, B, T], of `LandmarkFeatures`.

        Returns
        -------
        torch.Tensor
            float32 [B, T, 469], in the order of `GROUPS`.
        """
        upper, hands = features.index_select(1, self.upper), features[:, _HANDS].reshape(10, 2, 21, *features.shape[2:])
        parts = {**self._movement(upper, hands), **self._shapes(hands), **self._arms(upper, hands)}
        parts |= self._relations(upper, hands)
        parts["presence"] = torch.cat([features[9, :1], hands[9, :, 0]])
        return torch.cat([parts[name].flatten(0, -3) for name in GROUPS]).permute(1, 2, 0)

    @staticmethod
    def _movement(upper: Tensor, hands: Tensor) -> dict[str, Tensor]:
        # upper (10, 13, B, T), hands (10, 2, 21, B, T)
        velocities = hands[6:9, :, _WRIST_AND_TIPS]
        return {
            "body_places": upper[0:3],
            "body_velocities": upper[6:9],
            "hand_places": hands[0:3, :, _WRIST_AND_TIPS],
            "hand_velocities": velocities,
            "hand_speeds": _length(velocities),
        }

    @staticmethod
    def _shapes(hands: Tensor) -> dict[str, Tensor]:
        body, hand = hands[0:3], hands[3:6]  # (3, 2, 21, B, T)
        fingers = hand[:, :, 1:].reshape(3, 2, 5, 4, *hand.shape[3:])
        wrist = hand[:, :, :1].unsqueeze(3)
        # from the wrist to each tip, (3, 2, 5, 4, B, T)
        bones = torch.cat([fingers[:, :, :, :1] - wrist, fingers[:, :, :, 1:] - fingers[:, :, :, :-1]], 3)
        lengths = _length(bones)  # (2, 5, 4, B, T)
        along = bones / lengths.clamp(min=_SMALLEST)
        straight = fingers[:, :, :, -1] - fingers[:, :, :, 0]  # (3, 2, 5, B, T)
        tips, knuckles = hand[:, :, _TIPS], hand[:, :, _KNUCKLES]
        palm = _palms(hand).unsqueeze(2)
        # the ten pairs of five fingers are neighbours on a ring, or next but one
        pairs = torch.cat([tips - tips.roll(step, 2) for step in (1, 2)], 2)
        across = _cross(knuckles[:, :, 1], knuckles[:, :, 4])  # wrist to index knuckle, wrist to pinky knuckle
        return {
            "hand_shapes": hand[:, :, 1:],
            "joint_angles": (along[:, :, :, :-1] * along[:, :, :, 1:]).sum(0),
            "finger_curls": _length(straight) / lengths[:, :, 1:].sum(2).clamp(min=_SMALLEST),
            "finger_spreads": _cosine(straight[:, :, :-1], straight[:, :, 1:]),
            "tip_distances": _length(pairs),
            "tip_reaches": torch.cat([_length(tips), _length(tips - palm)], 1),
            "thumb_to_knuckles": _length(tips[:, :, :1] - knuckles[:, :, 1:]),
            "hand_sizes": _length(body[:, :, _FOUR] - body[:, :, :1]).mean(1),
            "palm_directions": torch.stack([_unit(across), _unit(knuckles[:, :, 2])], 2),
        }

    @staticmethod
    def _arms(upper: Tensor, hands: Tensor) -> dict[str, Tensor]:
        def bone(start: int, stop: int) -> Tensor:  # (3, B, T), zero where an end is missing
            both_seen = upper[9, start] * upper[9, stop]
            return (upper[0:3, stop] - upper[0:3, start]) * both_seen

        angles, directions = [], []
        for side, other in ((0, 1), (1, 0)):
            shoulder, elbow, wrist, hip = _ARMS[side]
            above, below = bone(shoulder, elbow), bone(elbow, wrist)
            angles += [
                _cosine(above, below),
                _cosine(bone(shoulder, hip), above),
                _cosine(bone(_ARMS[other][0], shoulder), above),
                _cosine(below, hands[3:6, side, _MIDDLE]),
            ]
            directions += [_unit(above), _unit(below)]
        return {"arm_angles": torch.stack(angles), "arm_directions": torch.stack(directions, 1)}

    @staticmethod
    def _relations(upper: Tensor, hands: Tensor) -> dict[str, Tensor]:
        body, seen = hands[0:3], hands[9, :, 0]  # (3, 2, 21, B, T), (2, B, T)
        centres = _palms(body)  # (3, 2, B, T)
        measured = torch.stack([centres, body[:, :, 8]], 2)  # palm and tip of the index finger
        anchors = upper[0:3, _ANCHORS]
        to_body = _length(measured.unsqueeze(3) - anchors[:, None, None])  # (2, 2, 11, B, T)
        both = seen[0] * seen[1]  # (B, T)
        apart = (centres[:, 1] - centres[:, 0]) * both
        tips = _length(body[:, 1, _TIPS] - body[:, 0, _TIPS]) * both
        wrists = hands[6:9, :, 0]  # velocities
        closing = ((wrists[:, 1] - wrists[:, 0]) * _unit(apart)).sum(0)
        return {
            "hands_to_body": to_body * seen[:, None, None] * upper[9, _ANCHORS],
            "hands_apart": apart,
            "hands_distances": torch.cat([_length(apart).unsqueeze(0), tips]),
            "hands_closing": closing.unsqueeze(0),
        }

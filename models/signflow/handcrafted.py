"""The 469 hand-crafted features of a frame: what a person would measure to distinguish signs.

Size `features` sees nothing else; the others add a graph network to them. All are made of what `LandmarkFeatures`
gives: places centred between the shoulders and in shoulder widths, hands from their wrists and in sizes of the hand. So
none depends on where in the picture the signer stands or how large, and "right" is the dominant hand. Those of
`TURN_FREE` do not depend on how the camera is turned either, those of `ROLL_FREE` not on how it is turned about its own
axis. Depths are those of each hand, from its wrist; the body has none, so whatever is measured between the body and a
hand, or between the hands, is measured in the picture. What is missing is measured as zero.
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
        *("joint_angles", "finger_curls", "finger_spreads", "tip_distances", "tip_reaches", "thumb_to_knuckles"),
        "presence",
    }
)
"""Groups made of lengths and angles within one hand, in its own size: the same however the camera is turned."""

ROLL_FREE: Final = TURN_FREE | {
    *("hand_speeds", "hand_sizes", "arm_angles", "hands_to_body", "hands_distances", "hands_closing"),
}
"""Groups made of lengths and angles only: the same however the picture is turned."""

_SMALLEST = 1e-3  # shoulder widths, or sizes of a hand; keeps a collapsed bone from dividing by zero
_ANCHORS = slice(0, 11)  # of UPPER: all but the wrists
_SHOULDERS, _ELBOWS = slice(5, 7), slice(7, 9)  # of UPPER, left and right
_ELBOWS_HIPS_WRISTS = slice(7, 13)  # of UPPER
_HANDS = slice(LEFT_HAND.start, RIGHT_HAND.stop)  # left, then right, 21 landmarks each
_WRIST_AND_TIPS = slice(0, None, 4)  # of a hand's 21
_TIPS = slice(4, None, 4)
_KNUCKLES = slice(1, None, 4)
_PALM_KNUCKLES = slice(5, None, 4)  # of index to pinky, which with the wrist make the palm


class HandcraftedFeatures(nn.Module):
    """Ten features per landmark to the 469 of a frame; no parameters.

    All vectors are measured together, since an operation of a graph costs microseconds however little it does.
    """

    upper: Tensor
    picture: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("picture", torch.tensor([1.0, 1.0, 0.0])[:, None, None, None, None], persistent=False)
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
        vectors = {**self._fingers(hands), **self._arms(upper), **self._between(upper, hands)}
        parts = self._measure({name: one.flatten(1, -3) for name, one in vectors.items()})
        parts |= {
            "body_places": upper[0:3],
            "body_velocities": upper[6:9],
            "hand_places": hands[0:3, :, _WRIST_AND_TIPS],
            "hand_velocities": vectors["velocities"],
            "hand_shapes": hands[3:6, :, 1:],
            "hands_apart": vectors["apart"],
            "presence": torch.cat([features[9, :1], hands[9, :, 0]]),
        }
        return torch.cat([parts[name].flatten(0, -3) for name in GROUPS]).permute(1, 2, 0)

    @staticmethod
    def _measure(vectors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the groups made of lengths and directions of vectors (3, n, B, T)."""
        counts, joined = [one.shape[1] for one in vectors.values()], torch.cat([*vectors.values()], 1)
        lengths = joined.square().sum(0).sqrt()
        units = joined / lengths.clamp(min=_SMALLEST)
        length = dict(zip(vectors, torch.split(lengths, counts), strict=True))
        unit = dict(zip(vectors, torch.split(units, counts, 1), strict=True))

        def each(values: Tensor, *shape: int) -> Tensor:
            return values.reshape(*values.shape[:-3], *shape, *values.shape[-2:])

        bones, straight = each(unit["bones"], 10, 4), each(unit["straight"], 2, 5)
        above, below = unit["upper_arms"], unit["forearms"]  # (3, 2, B, T)
        bent = torch.stack([above, unit["trunks"], unit["shoulders"], below], 2)
        against = torch.stack([below, above, above, unit["palms"]], 2)
        folded = each(length["bones"], 10, 4)[:, 1:].sum(1).clamp(min=_SMALLEST)
        velocities = vectors["velocities"]
        closing = velocities[:, 6:7] - velocities[:, :1]  # the right wrist's and the left one's
        return {
            "hand_speeds": length["velocities"],
            "joint_angles": (bones[:, :, :-1] * bones[:, :, 1:]).sum(0),
            "finger_curls": length["straight"] / folded,
            "finger_spreads": (straight[:, :, :-1] * straight[:, :, 1:]).sum(0),
            "tip_distances": length["pairs"],
            "tip_reaches": torch.cat([each(length["tips"], 2, 5), each(length["tips_to_palm"], 2, 5)], 1),
            "thumb_to_knuckles": length["thumbs"],
            "hand_sizes": each(length["knuckles"], 2, 4).mean(1),
            "palm_directions": torch.stack([unit["across"], unit["palms"]], 2),
            "arm_angles": (bent * against).sum(0),
            "arm_directions": torch.stack([above, below], 2),
            "hands_to_body": length["to_body"],
            "hands_distances": torch.cat([length["apart"], length["tips_apart"]]),
            "hands_closing": (closing * unit["apart"]).sum(0),
        }

    @staticmethod
    def _fingers(hands: Tensor) -> dict[str, Tensor]:
        """Return the vectors of each hand (10, 2, 21, B, T), each (3, 2, ..., B, T)."""
        hand = hands[3:6]
        fingers = hand[:, :, 1:].reshape(3, 2, 5, 4, *hand.shape[3:])
        roots, tips, knuckles = hand[:, :, None, :1], hand[:, :, _TIPS], hand[:, :, _KNUCKLES]
        index, middle, pinky = knuckles[:, :, 1], knuckles[:, :, 2], knuckles[:, :, 4]
        return {
            "velocities": hands[6:9, :, _WRIST_AND_TIPS],
            "bones": torch.cat([fingers[:, :, :, :1] - roots, fingers[:, :, :, 1:] - fingers[:, :, :, :-1]], 3),
            "straight": fingers[:, :, :, 3] - fingers[:, :, :, 0],
            # the ten pairs of five fingers are neighbours on a ring, or next but one
            "pairs": torch.cat([tips - tips.roll(step, 2) for step in (1, 2)], 2),
            "tips": tips,
            "tips_to_palm": tips - _palms(hand).unsqueeze(2),
            "thumbs": tips[:, :, :1] - knuckles[:, :, 1:],
            "knuckles": hands[0:3, :, _PALM_KNUCKLES] - hands[0:3, :, :1],
            "across": torch.linalg.cross(index, pinky, dim=0),  # both from the wrist
            "palms": middle,
        }

    @staticmethod
    def _arms(upper: Tensor) -> dict[str, Tensor]:
        """Return the bones of both arms, each (3, 2, B, T); zero where an end of UPPER (10, 13, B, T) is missing."""
        shoulders = upper[:, _SHOULDERS]
        starts = torch.cat([shoulders, shoulders, upper[:, _ELBOWS], shoulders.flip(1)], 1)
        stops = torch.cat([upper[:, _ELBOWS_HIPS_WRISTS], shoulders], 1)
        bones = (stops[0:3] - starts[0:3]) * (stops[9] * starts[9])
        return dict(zip(("upper_arms", "trunks", "forearms", "shoulders"), torch.split(bones, 2, 1), strict=True))

    def _between(self, upper: Tensor, hands: Tensor) -> dict[str, Tensor]:
        """Return the vectors from the body to the hands, (3, 2, 2, 11, B, T), and from the left hand to the right.

        They lie in the picture: each hand's depth counts from its own wrist, and the body has none.
        """
        body, seen = hands[0:3] * self.picture, hands[9, :, 0]  # (3, 2, 21, B, T), (2, B, T)
        centres, both = _palms(body), seen[0] * seen[1]
        measured = torch.stack([centres, body[:, :, 8]], 2).unsqueeze(3)  # palm and tip of the index finger
        to_body = measured - upper[0:3, None, None, _ANCHORS]
        return {
            "to_body": to_body * (seen[:, None, None] * upper[9, _ANCHORS]),
            "apart": (centres[:, 1:] - centres[:, :1]) * both,
            "tips_apart": (body[:, 1, _TIPS] - body[:, 0, _TIPS]) * both,
        }


def _palms(hands: Tensor) -> Tensor:
    # hands (3, 2, 21, B, T) -> (3, 2, B, T)
    return (hands[:, :, 0] + hands[:, :, _PALM_KNUCKLES].sum(2)) / 5

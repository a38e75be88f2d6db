"""What SignFlow sees of a landmark: ten numbers, from raw coordinates, inside the graph that serves.

Missing landmarks are distinguished from seen ones, places are centred and scaled, hands seen again from their wrists.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.signflow.landmarks import (
    AXES,
    LANDMARKS,
    LEFT_HAND,
    LEFT_SHOULDER,
    MIRROR,
    NOSE,
    POSE,
    RIGHT_HAND,
    RIGHT_SHOULDER,
)

FEATURES: Final = 10
"""Per landmark: place on the body (3), place within its part (3), velocity (3), present or not (1)."""

_LARGEST = 1e5  # beyond any camera's coordinates; a comparison with it also sorts out NaN and inf
_FARTHEST = 8.0  # shoulder widths; a landmark farther off is a tracking failure
_VELOCITY = 4.0  # brings a sign's typical speed, a quarter shoulder width per frame, to one
_HANDS = (LEFT_HAND, RIGHT_HAND)
_SMALLEST = 1e-3  # of the image; keeps a collapsed shoulder line or hand from dividing by zero


def real_frames(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Return which frames of sequences [B, T, …] come before their end, 1 or 0 in the sequences' dtype [B, T]."""
    return (torch.arange(sequences.shape[1], device=lengths.device) < lengths.unsqueeze(1)).to(sequences.dtype)


def mean_over_frames(values: Tensor, weight: Tensor) -> Tensor:
    """Return the mean [..., B, 1] of values [..., B, T] where the weight [B, T], 0 or 1, is 1; zero where none is."""
    return (values * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp(min=1.0)


class LandmarkFeatures(nn.Module):
    """Raw landmarks to ten features per landmark; no parameters.

    Positions are centred between the shoulders and scaled by the shoulder width, both averaged over the sequence;
    hands are seen a second time relative to their wrist and scaled by their own size, the pose relative to the nose.
    A signer whose left hand is seen more often than the right is mirrored, so that the dominant hand is the right one.

    MediaPipe measures the depth of the pose from the hips and that of a hand from its own wrist, so neither can be
    compared with the other. The depth of the pose is left out; that of a hand counts from its wrist.

    Frames stand last throughout: whatever is done with a landmark or an axis is then done with long rows of numbers.
    """

    mirror: Tensor
    flip: Tensor
    depth_origins: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mirror", torch.from_numpy(MIRROR.copy()), persistent=False)
        self.register_buffer("flip", torch.tensor([-1.0, 1.0, 1.0])[:, None, None, None], persistent=False)
        origins = torch.arange(LANDMARKS)  # a landmark of the pose from itself: zero
        for part in _HANDS:
            origins[part] = part.start
        self.register_buffer("depth_origins", origins, persistent=False)

    def forward(self, landmarks: Tensor, mask: Tensor) -> Tensor:
        """Compute the features.

        Parameters
        ----------
        landmarks
            float32 [B, T, 225], NaN or all zeros where missing.
        mask
            float32 [B, T], one for real frames.

        Returns
        -------
        torch.Tensor
            float32 [10, 75, B, T].
        """
        return self.describe(*self.normalise(landmarks, mask))

    def normalise(self, landmarks: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return places in shoulder widths [3, 75, B, T], and which are seen, 1 or 0 [75, B, T]; else as forward."""
        raw = landmarks.permute(2, 0, 1).reshape(LANDMARKS, AXES, *mask.shape).transpose(0, 1)  # (3, 75, B, T)
        usable = raw.abs() < _LARGEST
        points = torch.where(usable, raw, 0.0)
        largest = points.abs().amax(0)  # (75, B, T)
        # a hand's wrist may rightly sit at the origin (wrist-centred recordings): a hand is there or not as a whole
        hands = [largest[part].amax(0, keepdim=True).expand_as(largest[part]) for part in _HANDS]
        somewhere = torch.cat([largest[POSE], *hands]) > 0
        # numbers, because ONNX reduces no booleans
        present = usable.to(points.dtype).amin(0) * somewhere.to(points.dtype) * mask
        depth = points[2] - points[2].index_select(0, self.depth_origins)
        points = torch.cat([points[:2], depth.unsqueeze(0)])

        left, right = points[:, LEFT_SHOULDER], points[:, RIGHT_SHOULDER]  # (3, B, T)
        shoulders = present[LEFT_SHOULDER] * present[RIGHT_SHOULDER]  # (B, T)
        centre = mean_over_frames((left + right) / 2, shoulders)  # (3, B, 1)
        width = mean_over_frames((left - right).square().sum(0).sqrt(), shoulders)  # (B, 1)
        width = torch.where(shoulders.sum(1, keepdim=True) > 0, width, 1.0).clamp(min=_SMALLEST)
        body = self._bound((points - centre.unsqueeze(1)) / width) * present

        # counts of frames are whole numbers: the comparison cannot tip by rounding
        left_frames, right_frames = (present[part.start].sum(1, keepdim=True) for part in _HANDS)
        left_handed = left_frames > right_frames  # (B, 1)
        body = torch.where(left_handed, body.index_select(1, self.mirror) * self.flip, body)
        return body, torch.where(left_handed, present.index_select(0, self.mirror), present)

    def describe(self, body: Tensor, present: Tensor) -> Tensor:
        """Return the ten features of places and presence as `normalise` gives them, zeros where nothing is seen."""
        local = [body[:, POSE] - body[:, NOSE : NOSE + 1], *(self._hand(body, present, part) for part in _HANDS)]
        # one empty frame is put in front and the last one cut off: slicing T - 1 frames would not export for T = 1
        before, before_present = (F.pad(x, (1, 0))[..., : body.shape[3]] for x in (body, present))
        velocity = (body - before) * (present * before_present * _VELOCITY)
        return torch.cat([body, torch.cat(local, 1) * present, velocity, present.unsqueeze(0)])

    @staticmethod
    def _bound(points: Tensor) -> Tensor:
        return points.clamp(-_FARTHEST, _FARTHEST)

    def _hand(self, body: Tensor, present: Tensor, part: slice) -> Tensor:
        hand = body[:, part] - body[:, part.start : part.start + 1]  # (3, 21, B, T)
        reach = hand.square().sum(0).mean(0).sqrt()  # (B, T)
        size = mean_over_frames(reach, present[part.start]).clamp(min=_SMALLEST)  # (B, 1)
        return self._bound(hand / size)

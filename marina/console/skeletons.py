"""Landmark sequences as drawings that move: each frame a group of points, shown one after another (static/keys.js)."""

import io
import json

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from models.signflow.landmarks import AXES, LANDMARKS

FRAMES = 16
SIZE = 200
NPY = "application/x-npy"


def draw(content_type: str, body: bytes) -> Markup:
    """Return a request's landmarks as SVG; nothing where its body has none."""
    try:
        frames = np.load(io.BytesIO(body), allow_pickle=False) if content_type == NPY else json.loads(body)["frames"]
        points = np.asarray(frames, np.float64).reshape(-1, LANDMARKS, AXES)[:, :, :2]
    except (ValueError, KeyError, TypeError, EOFError):
        return Markup("")
    seen: NDArray[np.bool_] = np.isfinite(points).all(axis=2) & (np.abs(points).sum(axis=2) > 0)
    if not seen.any():
        return Markup("")
    chosen = np.unique(np.linspace(0, len(points) - 1, FRAMES).astype(int))
    low, high = points[seen].min(axis=0), points[seen].max(axis=0)
    placed = (points - low) / max(float((high - low).max()), 1e-9) * (SIZE - 12) + 6
    groups = []
    for place, at in enumerate(chosen.tolist()):
        path = "".join(f"M{x:.0f} {y:.0f}h.1" for x, y in placed[at][seen[at]])
        groups.append(f'<path class="frame" d="{path}" visibility="{"hidden" if place else "visible"}"></path>')
    drawing = Markup("").join(Markup(one) for one in groups)  # numbers only
    return Markup('<svg class="skeleton" viewBox="0 0 {} {}" role="img" aria-label="landmarks">{}</svg>').format(
        SIZE, SIZE, drawing
    )

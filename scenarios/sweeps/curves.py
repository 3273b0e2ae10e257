"""Curves over virtual time: reading and thinning them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Curve = list[tuple[float, float]]


def thinned(points: Sequence[tuple[float, float]], most: int) -> Curve:
    """Return at most `most` of a curve's points: the first, the last, and the extremes of equal stretches between."""
    if len(points) <= most:
        return list(points)
    values = np.array([v for _, v in points])
    kept = {0, len(points) - 1}
    for stretch in np.array_split(np.arange(1, len(points) - 1), (most - 2) // 2):
        there = values[stretch[0] : stretch[-1] + 1]
        kept |= {int(stretch[0] + there.argmin()), int(stretch[0] + there.argmax())}
    return [points[i] for i in sorted(kept)]


def as_curve(given: object) -> Curve:
    """Return [[time, value], ...] of an observer's findings without NaN, [] if it is nothing of the kind."""
    try:
        points = np.array(given, np.float64)  # "inf" becomes infinite, None NaN
    except (TypeError, ValueError, OverflowError):
        return []
    if points.ndim != 2 or points.shape[1] != 2:
        return []
    return [(t, v) for t, v in points[~np.isnan(points).any(axis=1)].tolist()]

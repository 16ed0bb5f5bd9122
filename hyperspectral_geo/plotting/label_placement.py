"""Where names go beside their points: near, on few other points, and never over each other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["place_labels"]

_DISTANCES = (4.0, 9.0, 16.0, 26.0, 40.0, 58.0, 80.0)
_DIRECTIONS = 24
_ROUNDS = 3
_SAMPLES = np.linspace(0.1, 1.0, 8)[:, None, None]

# What a place costs beside its distance in points: dots under the text, highlighted dots under it, lines that cross.
_PER_DOT, _PER_ANCHOR, _PER_CROSSING = 3.0, 60.0, 50.0


def place_labels(
    anchors: Float[np.ndarray, "k 2"],
    sizes: Float[np.ndarray, "k 2"],
    dots: Float[np.ndarray, "n 2"],
    frame: Float[np.ndarray, "2 2"],
    *,
    padding: float = 1.5,
) -> tuple[Float[np.ndarray, "k 2"], Bool[np.ndarray, "k"]]:
    """Centres of labels, chosen greedily among places around each anchor, then revised in a few rounds.

    A place costs its distance from the anchor, the dots that the text would hide and the leader lines that it would
    cross. Two texts never overlap, and none leaves the frame: a label without a free place is left out.

    Args:
        anchors: what the labels name, in any unit of length of about 1/72 inch, the most important first.
        sizes: width and height of each label.
        dots: all points of the picture, which labels should rather not hide.
        frame: lower left and upper right corner of the space for labels.
        padding: space kept around a label.

    Returns:
        The centres (k, 2) and whether each label is placed (k,).

    >>> centres, placed = place_labels(
    ...     np.zeros((1, 2)), np.array([[20.0, 8.0]]), np.zeros((1, 2)), np.array([[-50.0, -50.0], [50.0, 50.0]])
    ... )
    >>> placed.tolist()
    [True]
    """
    count = len(anchors)
    half = sizes / 2 + padding
    places = [_places(anchors[i], half[i]) for i in range(count)]
    fixed = [_fixed_cost(places[i], anchors, i, half[i], dots, frame) for i in range(count)]
    chosen = np.full(count, -1)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for i in range(count):
            others = np.flatnonzero((chosen >= 0) & (np.arange(count) != i))
            centres = np.array([places[j][chosen[j]] for j in others]).reshape(-1, 2)
            cost = fixed[i] + _cost_among(places[i], anchors[i], half[i], centres, anchors[others], half[others])
            best = int(cost.argmin())
            chosen[i] = best if np.isfinite(cost[best]) else -1
        if (chosen == before).all():
            break
    placed = chosen >= 0
    return np.array([places[i][chosen[i]] for i in range(count)]).reshape(-1, 2), placed


def nearest_in_box(
    point: Float[np.ndarray, "2"], centre: Float[np.ndarray, "2"], size: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "2"]:
    """The point of a label's box where its leader line ends: the one nearest to ``point``."""
    return np.clip(point, centre - size / 2, centre + size / 2)


def _places(anchor: Float[np.ndarray, "2"], half: Float[np.ndarray, "2"]) -> Float[np.ndarray, "p 2"]:
    """Centres around one anchor, the box touching circles of growing radius, the right-hand side first."""
    angle = np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
    direction = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    # Saturated, so that labels left and right of a point stand at its height rather than on a diagonal.
    side = np.clip(1.6 * direction, -1, 1)
    return np.concatenate([anchor + distance * direction + side * half for distance in _DISTANCES])


def _fixed_cost(
    places: Float[np.ndarray, "p 2"],
    anchors: Float[np.ndarray, "k 2"],
    own: int,
    half: Float[np.ndarray, "2"],
    dots: Float[np.ndarray, "n 2"],
    frame: Float[np.ndarray, "2 2"],
) -> Float[np.ndarray, "p"]:
    """Cost of each place for what never moves: its distance, the dots and anchors below it, the frame around it."""
    distance = np.repeat(_DISTANCES, _DIRECTIONS)
    others = np.delete(anchors, own, axis=0)
    hidden = _PER_DOT * _count_inside(dots, places, half) + _PER_ANCHOR * _count_inside(others, places, half + 4)
    inside = np.logical_and(places - half >= frame[0], places + half <= frame[1]).all(axis=1)
    return np.where(inside, distance + hidden, np.inf)


def _count_inside(
    points: Float[np.ndarray, "n 2"], centres: Float[np.ndarray, "p 2"], half: Float[np.ndarray, "2"]
) -> Int[np.ndarray, "p"]:
    return (np.abs(points - centres[:, None]) < half).all(axis=-1).sum(axis=1)


def _cost_among(
    places: Float[np.ndarray, "p 2"],
    anchor: Float[np.ndarray, "2"],
    half: Float[np.ndarray, "2"],
    centres: Float[np.ndarray, "m 2"],
    anchors: Float[np.ndarray, "m 2"],
    halves: Float[np.ndarray, "m 2"],
) -> Float[np.ndarray, "p"]:
    """Cost of each place for the labels that are placed already: infinite if texts overlap, more if lines cross."""
    overlap = np.any((np.abs(places[:, None] - centres) < half + halves).all(axis=-1), axis=1)
    # Lines are followed at a few points: those of this label under other texts, those of others under this text.
    mine = (anchor + _SAMPLES * (places - anchor)[None])[:, :, None]
    struck = (np.abs(mine - centres) < halves).all(axis=-1).any(axis=0).sum(axis=1)
    theirs = (anchors + _SAMPLES * (centres - anchors)[None])[:, None]
    struck += (np.abs(theirs - places[:, None]) < half).all(axis=-1).any(axis=0).sum(axis=1)
    crossed = _crossings(anchor, places, anchors, centres).sum(axis=1)
    return np.where(overlap, np.inf, _PER_CROSSING * (struck + crossed))


def _crossings(
    a: Float[np.ndarray, "2"], b: Float[np.ndarray, "p 2"], c: Float[np.ndarray, "m 2"], d: Float[np.ndarray, "m 2"]
) -> Bool[np.ndarray, "p m"]:
    """Whether the segment from ``a`` to each of ``b`` crosses each segment from ``c`` to ``d``."""
    b = b[:, None]

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        u, v = q - p, r - p
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)

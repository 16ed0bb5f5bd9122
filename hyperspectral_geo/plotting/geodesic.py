"""Geodesics of the Poincaré disk as circular arcs, and the distance along them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from hyperspectral_geo.plotting.checks import as_disk_points

__all__ = ["disk_distance", "geodesic_arc"]


def geodesic_arc(a: ArrayLike, b: ArrayLike, *, count: int = 24) -> Float[np.ndarray, "*batch count 2"]:
    """Points on the geodesic from ``a`` to ``b``: an arc of the circle through both that is orthogonal to the rim.

    In complex numbers the geodesic leaves a in the direction of (b − a)/(1 − āb), so that it makes the angle
    α = −arg(1 − āb) with its chord b − a, and

        z(t) = a + (b − a)·e^{iα(1−t)}·sin(tα)/sin(α),   0 ≤ t ≤ 1,

    runs along the arc at constant Euclidean speed. A diameter is the case α = 0, and needs no special treatment.

    Args:
        a: points (…, 2) of the open unit disk.
        b: points that broadcast against ``a``.
        count: number of points on each arc, at least 2. They are evenly spaced to the eye, not in hyperbolic length.

    Returns:
        float64 of shape (…, count, 2); the first point is ``a`` and the last is ``b``, to the bit.

    Raises:
        ValueError: for points outside the disk, NaN, shapes that do not match, or ``count`` below 2.

    References:
        Anderson, "Hyperbolic Geometry", 2005, chapter 4.

    >>> geodesic_arc([0.5, 0.0], [0.0, 0.5], count=3).round(4).tolist()
    [[0.5, 0.0], [0.2192, 0.2192], [0.0, 0.5]]
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise ValueError(f"count: expected an integer of at least 2, the two ends, got {count!r}")
    start, end = _pairs(a, b)
    p, q = (x[..., :1] + 1j * x[..., 1:] for x in (start, end))
    t = np.linspace(0.0, 1.0, count)
    alpha = -np.angle(1 - np.conj(p) * q)
    # np.sinc(x) is sin(πx)/(πx), and 1 at 0: the quotient of the sines without a division by zero.
    z = p + (q - p) * np.exp(1j * alpha * (1 - t)) * t * np.sinc(t * alpha / np.pi) / np.sinc(alpha / np.pi)
    arc = np.stack((z.real, z.imag), axis=-1)
    arc[..., 0, :], arc[..., -1, :] = start, end
    return arc


def disk_distance(a: ArrayLike, b: ArrayLike) -> Float[np.ndarray, "*batch"]:
    """Hyperbolic distance between points (…, 2) of the unit disk with curvature −1, float64 of shape (…).

    d(a, b) = 2 asinh(|a − b| / √((1 − |a|²)(1 − |b|²))). Raises ``ValueError`` as `geodesic_arc` does.

    >>> round(float(disk_distance([0.0, 0.0], [0.5, 0.0])), 6)  # log 3
    1.098612
    """
    start, end = _pairs(a, b)
    gap = np.hypot(*np.moveaxis(start - end, -1, 0))
    return np.asarray(2 * np.arcsinh(gap / np.sqrt(_room(start) * _room(end))))


def _room(x: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch"]:
    """1 − |x|², as (1 − |x|)(1 + |x|), which keeps more digits near the rim."""
    radius = np.hypot(x[..., 0], x[..., 1])
    return np.asarray((1 - radius) * (1 + radius))


def _pairs(a: ArrayLike, b: ArrayLike) -> tuple[Float[np.ndarray, "*batch 2"], Float[np.ndarray, "*batch 2"]]:
    start, end = as_disk_points("a", a), as_disk_points("b", b)
    try:
        start, end = np.broadcast_arrays(start, end)
    except ValueError:
        raise ValueError(f"b: expected a shape that broadcasts against a, {start.shape}, got {end.shape}") from None
    return start, end

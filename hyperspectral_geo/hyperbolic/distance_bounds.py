"""What one matrix product can promise about distances: numbers that they do not fall below."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.geometry import Geometry

__all__ = ["SLACK", "distance_below"]

SLACK = 1e-9
"""Relative: rounding of all that is not the product, a million times over."""


def distance_below(x: Float[Tensor, "m c"], y: Float[Tensor, "n c"], geometry: Geometry) -> Float[Tensor, "m n"]:
    """Lower bounds on all distances between two sets of points, by one matrix product.

    The product x·y of c coordinates is off by at most γ|x||y| with γ ≈ c·eps (Higham, *Accuracy and Stability of
    Numerical Algorithms*, 2002, section 3.1); here γ = 8(c + 2)·eps, for the rounding of the coordinates too. What this
    does to cosh d, d² or cos d is taken off before the distance is computed from it. Near the origin the bounds are
    tight to a part in a billion; in hyperbolic space beyond radius 18 in float64 little but d ≥ 0 is left.

    Args:
        x, y: points as ``points_from_tangents`` gives them.
        geometry: theirs.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
        >>> below = distance_below(x, x, "euclidean")
        >>> bool((below <= torch.cdist(x, x)).all()), round(below[0, 1].item(), 6)
        (True, 5.0)
    """
    if geometry == "product":
        curved = (x.shape[1] + 2) // 2  # the time-like coordinate, and the first half of the others rounded up
        flat = distance_below(x[:, curved:], y[:, curved:], "euclidean")
        return torch.hypot(distance_below(x[:, :curved], y[:, :curved], "hyperbolic"), flat)
    rounding = 8 * (x.shape[1] + 2) * torch.finfo(x.dtype).eps
    if geometry == "hyperbolic":
        # x₀y₀(1 − γ) − x·y in the product itself
        cosh = torch.outer(x[:, 0] * (1 - 2 * rounding), y[:, 0]).addmm_(x[:, 1:], y[:, 1:].T, alpha=-1)
        return cosh.clamp_min_(1).acosh_().mul_(1 - SLACK)
    if geometry == "spherical":
        return (x @ y.T).add_(rounding).clamp_max_(1).acos_().mul_(1 - SLACK)
    length_x, length_y = (torch.linalg.vector_norm(z, dim=1) for z in (x, y))
    if geometry == "bilinear":
        return torch.outer(length_x, length_y).mul_(-rounding).addmm_(x, y.T, alpha=-1)
    squared = (length_x.square()[:, None] + length_y.square()).mul_(1 - 2 * rounding)
    return squared.addmm_(x, y.T, alpha=-2).clamp_min_(0).sqrt_().mul_(1 - SLACK)

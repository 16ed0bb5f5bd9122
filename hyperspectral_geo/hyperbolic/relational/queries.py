"""What a relation does to an entity: the point at which its tails are looked for, by isometries of the space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.geometry import Geometry, points_from_tangents

__all__ = ["RELATION_TABLES", "boosted", "query_points", "reflected", "rotated"]

RELATION_TABLES = ("rotations", "reflections", "mixing", "translations")
"""A relation's numbers: angles (d/2) of rotations and of reflections, the share of the first (d/2), a tangent (d)."""


def query_points(
    tangents: Float[Tensor, "b d"], relations: Mapping[str, Tensor], geometry: Geometry, chosen: Int[Tensor, " b"]
) -> Float[Tensor, "b c"]:
    """The points q at which the tails of (head, relation) are looked for.

    A head's tangent z is turned in d/2 planes, w·Rot(α)z + (1 − w)·Ref(β)z with a share w = σ(m) for each plane, and
    exp₀ of it is translated: in hyperbolic space by the Lorentz boost that takes the origin to exp₀(t), in Euclidean
    space by t. Where w is 0 or 1 that is an isometry; between, the plane shrinks. Rotations, reflections and
    translations are those of RotH, RefH and AttH (Chami et al., ACL 2020, arXiv:2005.00545), whose attention looks
    at the head; here each relation has a share of its own.

    Args:
        tangents: of the heads, (b, d), d even.
        relations: the tensors that ``RELATION_TABLES`` names, one row a relation.
        geometry: ``"hyperbolic"`` or ``"euclidean"``.
        chosen: number of the relation of each head.

    Returns:
        Points of the geometry: (b, 1 + d) Lorentz coordinates or (b, d).
    """
    angles, mirrors, mixing, shifts = (relations[name][chosen] for name in RELATION_TABLES)
    share = mixing.sigmoid().repeat_interleave(2, -1)
    turned = share * rotated(tangents, angles) + (1 - share) * reflected(tangents, mirrors)
    points = points_from_tangents(turned, geometry)
    return boosted(points, shifts) if geometry == "hyperbolic" else points + shifts


def rotated(vectors: Float[Tensor, "b d"], angles: Float[Tensor, "b h"]) -> Float[Tensor, "b d"]:
    """Each pair of coordinates (2i, 2i + 1) turned by its angle: (c −s; s c).

    Example:
        >>> rotated(torch.tensor([[1.0, 0.0]]), torch.tensor([[torch.pi / 2]])).round(decimals=6).abs()
        tensor([[0., 1.]])
    """
    cosine, sine, first, second = _planes(vectors, angles)
    return torch.stack([cosine * first - sine * second, sine * first + cosine * second], -1).flatten(-2)


def reflected(vectors: Float[Tensor, "b d"], angles: Float[Tensor, "b h"]) -> Float[Tensor, "b d"]:
    """Each pair of coordinates mirrored in the line at half its angle: (c s; s −c). Twice gives what there was.

    Example:
        >>> reflected(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0]]))
        tensor([[ 3., -4.]])
    """
    cosine, sine, first, second = _planes(vectors, angles)
    return torch.stack([cosine * first + sine * second, sine * first - cosine * second], -1).flatten(-2)


def boosted(points: Float[Tensor, "b c"], tangents: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
    """Points moved by the Lorentz boost that takes the origin to p = exp₀(t), along the geodesic between them.

    x₀' = p₀x₀ + ⟨p, x⟩,  x' = x + p·(x₀ + ⟨p, x⟩/(1 + p₀)), with ⟨ , ⟩ of the space-like parts.

    Args:
        points: Lorentz coordinates, time-like first.
        tangents: t at the origin.

    Example:
        >>> origin = torch.tensor([[1.0, 0.0, 0.0]])
        >>> boosted(origin, torch.tensor([[0.0, 2.0]]))[0, 0].item() == torch.tensor(2.0).cosh().item()
        True
    """
    aim = points_from_tangents(tangents, "hyperbolic")
    time, along = aim[..., :1], aim[..., 1:]
    inner = (along * points[..., 1:]).sum(-1, keepdim=True)
    return torch.cat(
        [time * points[..., :1] + inner, points[..., 1:] + along * (points[..., :1] + inner / (1 + time))], -1
    )


def _planes(vectors: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    pairs = vectors.unflatten(-1, (-1, 2))
    return angles.cos(), angles.sin(), pairs[..., 0], pairs[..., 1]

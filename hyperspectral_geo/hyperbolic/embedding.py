"""The model: concepts as points of a geometry, and the distances between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.manifolds import Lorentz

__all__ = ["Geometry", "HopEmbedding", "pairwise_distance", "points_from_tangents"]

Geometry = Literal["hyperbolic", "euclidean"]


@dataclass(frozen=True, eq=False)
class HopEmbedding:
    """Named concepts as points, x = exp₀(z); made by ``fit``.

    Attributes:
        names: one name a concept.
        tangents: z, (n, d), tangent vectors at the origin; in Euclidean space the points themselves.
        geometry: ``"hyperbolic"`` (curvature −1) or ``"euclidean"``.
        scale: the factor on distances under which the model was trained.
    """

    names: tuple[str, ...]
    tangents: Float[Tensor, "n d"]
    geometry: Geometry
    scale: float

    @property
    def points(self) -> Float[Tensor, "n d_or_1_plus_d"]:
        """Points: Lorentz coordinates (n, 1 + d), time-like first, or Euclidean (n, d)."""
        return points_from_tangents(self.tangents, self.geometry)

    def index(self, name: str) -> int:
        """Number of a concept. Raises ``ValueError`` for an unknown name, with the nearest spellings."""
        try:
            return self.names.index(name)
        except ValueError:
            from difflib import get_close_matches

            close = ", ".join(get_close_matches(name, self.names)) or "none is close"
            raise ValueError(f"name: {name!r} is not one of the {len(self.names)} concepts; similar: {close}") from None

    def distance(self, source: str, target: str) -> float:
        """Scaled distance between two concepts by name, exact at any radius."""
        pair = self.points[[self.index(source), self.index(target)]]
        if self.geometry == "hyperbolic":
            return self.scale * Lorentz().dist(pair[0], pair[1]).item()
        return self.scale * torch.linalg.vector_norm(pair[0] - pair[1]).item()

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """Scaled distances from some concepts (default: all) to all.

        By one matrix product (see ``pairwise_distance``) while all radii are at most 10, where it is good to 1e-7;
        exact and slower beyond.
        """
        points = self.points
        rows = points if sources is None else points[sources]
        near = self.geometry == "euclidean" or float(torch.linalg.vector_norm(self.tangents, dim=1).max()) <= 10
        if near:
            return self.scale * pairwise_distance(rows, points, self.geometry)
        height = max(1, 2**22 // points.numel())  # a few hundred MB at a time
        exact = Lorentz()
        return self.scale * torch.cat([exact.dist(part[:, None], points) for part in rows.split(height)])

    def poincare(self) -> Float[Tensor, "n d"]:
        """Points of the Poincaré ball, tanh(|z|/2)·z/|z|: the conformal picture of hyperbolic space."""
        if self.geometry != "hyperbolic":
            raise ValueError(
                "geometry: expected a hyperbolic embedding, got a Euclidean one; plot its tangents instead"
            )
        radius = torch.linalg.vector_norm(self.tangents, dim=-1, keepdim=True)
        return torch.tanh(radius / 2) * self.tangents / radius.clamp_min(torch.finfo(radius.dtype).tiny)


def points_from_tangents(tangents: Float[Tensor, "n d"], geometry: Geometry) -> Float[Tensor, "n _"]:
    """exp₀ of tangents at the origin, (n, d) to (n, 1 + d); the identity in Euclidean space."""
    if geometry == "euclidean":
        return tangents
    return Lorentz().expmap0(torch.cat([torch.zeros_like(tangents[:, :1]), tangents], -1))


def pairwise_distance(x: Float[Tensor, "m c"], y: Float[Tensor, "n c"], geometry: Geometry) -> Float[Tensor, "m n"]:
    """All distances between two sets of points, by one matrix product.

    Hyperbolic: arccosh(x₀y₀ − x·y), whose error is about eps·e^{r_x + r_y}/sinh d: made for training in float64 at
    radius ≤ 15. ``Lorentz.dist`` is exact beyond. The gradient is written out and finite at coincident points.
    """
    if geometry == "euclidean":
        return torch.cdist(x, y)
    return _LorentzPairwise.apply(x, y)


class _LorentzPairwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
        product = torch.outer(x[:, 0], y[:, 0]).addmm_(x[:, 1:], y[:, 1:].T, alpha=-1)
        product = product.clamp_min_(1 + torch.finfo(x.dtype).eps)
        ctx.save_for_backward(x, y, product)
        return torch.acosh(product)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, y, product = ctx.saved_tensors
        weight = grad / ((product - 1) * (product + 1)).sqrt()
        signs = torch.ones_like(x[0]).neg_()
        signs[0] = 1
        return (weight @ y) * signs, (weight.T @ x) * signs

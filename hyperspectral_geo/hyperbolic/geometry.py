"""The spaces that concepts may live in: points from tangents at the origin, and all distances by one matrix product."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.manifolds import Lorentz

__all__ = [
    "GEOMETRIES",
    "Geometry",
    "accurate_pairwise",
    "exact_distance",
    "pairwise_distance",
    "points_from_tangents",
    "require_geometry",
    "rowwise_distance",
]

Geometry = Literal["hyperbolic", "euclidean", "spherical", "product", "bilinear"]
GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)
"""Hyperbolic space of curvature −1, Euclidean space, the unit sphere, hyperbolic × Euclidean (the first half of the
dimensions, rounded up, hyperbolic; d² = d_H² + d_E², Gu et al., ICLR 2019), and −⟨x, y⟩, which is no distance but the
strongest plain competitor of all these."""


def require_geometry(geometry: str) -> None:
    """Raise ``ValueError`` for a geometry that there is not."""
    if geometry not in GEOMETRIES:
        raise ValueError(f"geometry: expected one of {', '.join(map(repr, GEOMETRIES))}, got {geometry!r}")


def points_from_tangents(tangents: Float[Tensor, "n d"], geometry: Geometry) -> Float[Tensor, "n _"]:
    """Points exp₀(z) of tangents z at the origin.

    Hyperbolic (1 + d Lorentz coordinates, time-like first) and spherical (1 + d, the pole first); Euclidean and
    bilinear z itself; product: 1 + d, the Lorentz coordinates first.
    """
    if geometry == "hyperbolic":
        # Lorentz().expmap0 in five plain operations: training takes this step twice a batch
        radius = torch.linalg.vector_norm(tangents, dim=-1, keepdim=True)
        return torch.cat([radius.cosh(), tangents * (radius.sinh() / radius.clamp_min(1e-12)).clamp_min(1)], -1)
    if geometry == "spherical":
        radius = torch.linalg.vector_norm(tangents, dim=-1, keepdim=True)
        return torch.cat([radius.cos(), tangents * torch.sinc(radius / torch.pi)], -1)
    if geometry == "product":
        curved = _curved_dims(tangents.shape[1])
        return torch.cat([points_from_tangents(tangents[:, :curved], "hyperbolic"), tangents[:, curved:]], -1)
    return tangents


def pairwise_distance(x: Float[Tensor, "m c"], y: Float[Tensor, "n c"], geometry: Geometry) -> Float[Tensor, "m n"]:
    """All distances between two sets of points, by one matrix product.

    Hyperbolic: arccosh(x₀y₀ − x·y), whose error is about eps·e^{r_x + r_y}/sinh d: made for training in float64 at
    radius ≤ 15, in float32 at radius ≤ 5. ``Lorentz.dist`` is exact beyond. Gradients are written out and finite at
    coincident points.
    """
    if geometry == "euclidean":
        return torch.cdist(x, y)
    if geometry == "bilinear":
        return -(x @ y.T)
    if geometry == "product":
        curved = 1 + _curved_dims(x.shape[1] - 1)
        hyperbolic = _LorentzPairwise.apply(x[:, :curved], y[:, :curved])
        return _hypotenuse(hyperbolic, torch.cdist(x[:, curved:], y[:, curved:]))
    return (_LorentzPairwise if geometry == "hyperbolic" else _SphericalPairwise).apply(x, y)


def accurate_pairwise(x: Float[Tensor, "m c"], y: Float[Tensor, "n c"], geometry: Geometry) -> Float[Tensor, "m n"]:
    """All distances in float64, good to 1e-7 at any radius: by one matrix product where that is enough.

    The product leaves an error of about 4·eps·x₀y₀ in cosh d; pairs for which that exceeds 1e-7·d·sinh d are measured
    by ``exact_distance``. On a trained model these are a few near pairs far out. No gradients.
    """
    if geometry == "product":
        curved = 1 + _curved_dims(x.shape[1] - 1)
        hyperbolic = accurate_pairwise(x[:, :curved], y[:, :curved], "hyperbolic")
        return torch.hypot(hyperbolic, _plain_cdist(x[:, curved:], y[:, curved:]))
    if geometry == "euclidean":
        return _plain_cdist(x, y)
    found = pairwise_distance(x, y, geometry)
    if geometry != "hyperbolic":
        return found
    blurred = torch.outer(x[:, 0], y[:, 0]).mul_(4e7 * torch.finfo(x.dtype).eps)
    rows, columns = (blurred > found * found.sinh()).nonzero(as_tuple=True)
    for i, j in zip(rows.split(1 << 20), columns.split(1 << 20), strict=True):
        found[i, j] = exact_distance(x[i], y[j], geometry)
    return found


def rowwise_distance(x: Float[Tensor, "n c"], y: Float[Tensor, "n c"], geometry: Geometry) -> Float[Tensor, " n"]:
    """Distances of corresponding rows, as the diagonal of ``pairwise_distance`` would give them."""
    eps = torch.finfo(x.dtype).eps
    if geometry == "euclidean":
        return torch.linalg.vector_norm(x - y, dim=-1)
    if geometry == "bilinear":
        return -(x * y).sum(-1)
    if geometry == "product":
        curved = 1 + _curved_dims(x.shape[1] - 1)
        hyperbolic = rowwise_distance(x[:, :curved], y[:, :curved], "hyperbolic")
        return _hypotenuse(hyperbolic, torch.linalg.vector_norm(x[:, curved:] - y[:, curved:], dim=-1))
    if geometry == "spherical":
        return torch.acos((x * y).sum(-1).clamp(-1 + eps, 1 - eps))
    product = x[:, 0] * y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(-1)
    return torch.acosh(product.clamp_min(1 + eps))


def exact_distance(x: Float[Tensor, "*#n c"], y: Float[Tensor, "*#n c"], geometry: Geometry) -> Float[Tensor, "*n"]:
    """Distances of corresponding points without cancellation, at any radius; shapes broadcast, no gradients."""
    if geometry == "hyperbolic":
        return Lorentz().dist(x, y)
    if geometry == "euclidean":
        return torch.linalg.vector_norm(x - y, dim=-1)
    if geometry == "bilinear":
        return -(x * y).sum(-1)
    if geometry == "spherical":
        # Kahan: the angle from both chords, good near 0 and near π
        apart, together = (torch.linalg.vector_norm(v, dim=-1) for v in (x - y, x + y))
        return 2 * torch.atan2(apart, together)
    curved = 1 + _curved_dims(x.shape[-1] - 1)
    flat = torch.linalg.vector_norm(x[..., curved:] - y[..., curved:], dim=-1)
    return torch.hypot(exact_distance(x[..., :curved], y[..., :curved], "hyperbolic"), flat)


def _plain_cdist(x: Tensor, y: Tensor) -> Tensor:
    """Without the matrix product, which loses what points that are far out and near each other differ by."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _curved_dims(d: int) -> int:
    """How many dimensions of a product are hyperbolic."""
    return (d + 1) // 2


def _hypotenuse(a: Tensor, b: Tensor) -> Tensor:
    return (a.square() + b.square()).clamp_min(torch.finfo(a.dtype).eps).sqrt()


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


class _SphericalPairwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
        eps = torch.finfo(x.dtype).eps
        cosine = (x @ y.T).clamp_(-1 + eps, 1 - eps)
        ctx.save_for_backward(x, y, cosine)
        return torch.acos(cosine)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, y, cosine = ctx.saved_tensors
        weight = -grad / ((1 - cosine) * (1 + cosine)).sqrt()
        return weight @ y, weight.T @ x

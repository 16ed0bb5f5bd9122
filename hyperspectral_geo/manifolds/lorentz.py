"""Hyperbolic space as the Lorentz hyperboloid, with distances, maps and gradients that hold at any radius."""

from __future__ import annotations

import geoopt
import torch
from geoopt.manifolds.base import ScalingInfo
from torch import Tensor

from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.manifolds.hyperboloid import (
    DistanceParts,
    SpaceLikeDistance,
    across,
    asinhc,
    cosh_root,
    distance_over_sinh,
    inner_excess,
    ratio,
    sinhc,
    unit,
)
from hyperspectral_geo.validation import require_finite, require_same_kind, require_vectors

__all__ = ["Lorentz"]


class Lorentz(geoopt.Lorentz):
    r"""Hyperbolic space of curvature −1/k as the hyperboloid −x₀² + |x|² = −k, x₀ > 0.

    **Representation.** (…, 1 + d) with the time-like coordinate x₀ first, as in geoopt, whose ``Lorentz`` this class
    extends and can stand in for. Distances and maps read the space-like part x only: x₀ = √(k + |x|²) is implied.
    **Metric.** Minkowski's on tangents; distances are in units where the curvature is −1/k.

    Valid for radii up to 350·√k in float64 and 85·√k in float32 (where coordinates overflow); float32 is computed in
    float64 inside. What limits a distance is the rounding of the coordinates it is given, not the formula.

    Args:
        k: minus the squared Minkowski norm of the points, k > 0; curvature is −1/k.
        learnable: whether k takes gradients.

    References:
        M. Nickel, D. Kiela, *Learning continuous hierarchies in the Lorentz model*, ICML 2018, arXiv 1806.03417.
        G. Mishne et al., *The numerical stability of hyperbolic representation learning*, ICML 2023, arXiv 2211.00181.

    Example:
        >>> H = Lorentz()
        >>> x = H.expmap0(torch.tensor([0.0, 18.0, 0.0]))
        >>> H.dist(x, x).item(), round(H.dist0(x).item(), 4)
        (0.0, 18.0)
    """

    __scaling__ = geoopt.Lorentz.__scaling__.copy()

    def __init__(self, k: float | Tensor = 1.0, learnable: bool = False) -> None:
        value = torch.as_tensor(k)
        if value.numel() != 1 or not bool(torch.isfinite(value).all()) or float(value) <= 0:
            raise ValueError(f"k: expected one finite number > 0 (curvature is -1/k), got {k!r}")
        super().__init__(k=k, learnable=learnable)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Hyperbolic distance, shape without ``dim``; exactly 0 from a point to itself, with gradient 0 there.

        Differentiable once; the gradient is that of the space-like coordinates, 0 in the time-like one.

        Raises:
            ValueError: for integer or mixed dtypes, mixed devices, fewer than 2 coordinates or non-finite entries.
        """
        x, y = self._check("x", x, dim), self._check("y", y, dim)
        require_same_kind(x=x, y=y)
        root = self._root(x)
        distance = SpaceLikeDistance.apply(x[..., 1:] / root, y[..., 1:] / root) * root
        return distance.unsqueeze(dim) if keepdim else distance

    @__scaling__(ScalingInfo(1))
    def dist0(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        """Distance from the origin, √k·asinh(|x|/√k)."""
        x = self._check("x", x, dim)
        root = self._root(x)
        return torch.asinh(torch.linalg.vector_norm(x[..., 1:] / root, dim=-1, keepdim=keepdim)) * root

    @__scaling__(ScalingInfo(u=-1))
    def expmap0(self, u: Tensor, *, project: bool = True, dim: int = -1) -> Tensor:
        """Exponential map at the origin: space-like part u·sinh(|u|/√k)/(|u|/√k). Tangents have u₀ = 0 there."""
        u = self._check("u", u, dim)
        root = self._root(u)
        squared = (u[..., 1:] / root).square().sum(-1, keepdim=True)
        return self._complete(u[..., 1:] * sinhc(squared), dim)

    @__scaling__(ScalingInfo(1))
    def logmap0(self, y: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm at the origin: x·asinh(|x|/√k)/(|x|/√k), with time-like part 0."""
        y = self._check("y", y, dim)
        tangent = y[..., 1:] * asinhc(y[..., 1:] / self._root(y))
        return torch.cat([torch.zeros_like(tangent[..., :1]), tangent], -1).movedim(-1, dim)

    def expmap(self, x: Tensor, u: Tensor, *, norm_tan: bool = True, project: bool = True, dim: int = -1) -> Tensor:
        """Exponential map x cosh n + u sinh(n)/n, n = ‖u‖/√k, the norm taken without cancellation.

        Only the space-like part of u is read: tangency fixes u₀ = (x·u)/x₀.
        """
        x, u = self._check("x", x, dim), self._check("u", u, dim)
        root = self._root(x)
        space, move = x[..., 1:] / root, u[..., 1:] / root
        time_squared = 1 + space.square().sum(-1, keepdim=True)
        along = (unit(space) * move).sum(-1, keepdim=True)
        rest = move - along * unit(space)
        far = rest.square().sum(-1, keepdim=True) + along.square() / time_squared
        near = move.square().sum(-1, keepdim=True) - (space * move).sum(-1, keepdim=True).square() / time_squared
        squared = torch.where(time_squared < 2, near, far)  # polar parts have no gradient at the origin itself
        return self._complete((space * cosh_root(squared) + move * sinhc(squared)) * root, dim)

    retr = expmap

    def logmap(self, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm: tangent at x of length dist(x, y) towards y, 0 at y = x; its gradient is finite there too."""
        x, y = self._check("x", x, dim), self._check("y", y, dim)
        require_same_kind(x=x, y=y)
        root = self._root(x)
        wide = core_dtype(x)
        a, b = torch.broadcast_tensors((x[..., 1:] / root).to(wide), (y[..., 1:] / root).to(wide))
        parts = DistanceParts(a, b)
        time = (1 + a.square().sum(-1, keepdim=True)).sqrt()
        far = across(a, b) - unit(a) * time * (parts.radial + time * ratio(parts.angular, parts.norm_a))
        near_excess = inner_excess(a, b)
        near = b - a * (1 + near_excess)
        is_near = time < 1.4  # polar parts have no gradient at the origin itself
        excess = torch.where(is_near, near_excess, parts.radial_excess + parts.angular)
        space = (torch.where(is_near, near, far) * distance_over_sinh(excess)).to(x.dtype) * root
        along = (space * (x[..., 1:] / root)).sum(-1, keepdim=True) / time.to(x.dtype)
        return torch.cat([along, space], -1).movedim(-1, dim)

    def projx(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """The point with the same space-like part: x₀ = √(k + |x|²)."""
        return self._complete(self._check("x", x, dim)[..., 1:], dim)

    def _complete(self, space: Tensor, dim: int) -> Tensor:
        root = self._root(space)
        time = torch.hypot(root.expand(space.shape[:-1]), torch.linalg.vector_norm(space, dim=-1)).unsqueeze(-1)
        return torch.cat([time, space], -1).movedim(-1, dim)

    def _root(self, like: Tensor) -> Tensor:
        return self.k.sqrt().to(like.dtype)

    @staticmethod
    def _check(name: str, x: Tensor, dim: int) -> Tensor:
        x = x.movedim(dim, -1) if isinstance(x, Tensor) and x.ndim else x
        require_vectors(name, x, minimum=2)
        require_finite(name, x.detach())
        return x

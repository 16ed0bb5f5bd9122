"""Hyperbolic space as the Lorentz hyperboloid, with distances, maps and gradients that hold at any radius."""

from __future__ import annotations

import geoopt
import torch
from geoopt.manifolds.base import ScalingInfo
from geoopt.utils import size2shape
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
from hyperspectral_geo.validation import require_broadcastable, require_finite, require_same_kind, require_vectors

__all__ = ["Lorentz"]


class Lorentz(geoopt.Lorentz):
    r"""Hyperbolic space of curvature −1/k as the hyperboloid −x₀² + |x|² = −k, x₀ > 0.

    **Representation.** (…, 1 + d) with the time-like coordinate x₀ first, as in geoopt, whose ``Lorentz`` this class
    extends and can stand in for. Distances and maps read the space-like part x only: x₀ = √(k + |x|²) is implied.
    **Metric.** Minkowski's on tangents; distances are in units where the curvature is −1/k.

    Valid for radii up to 100·√k in float64 and 85·√k in float32 (where coordinates overflow); float32 is computed in
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
        value = torch.zeros(())
        try:
            value = torch.as_tensor(k, dtype=None if isinstance(k, Tensor) else torch.float64)
            ok = value.numel() == 1 and bool(torch.isfinite(value).all()) and float(value) > 0
        except (TypeError, ValueError, RuntimeError):
            ok = False
        if not ok:
            raise ValueError(f"k: expected one finite number > 0 (curvature is -1/k), got {k!r}")
        super().__init__(k=value.reshape(()), learnable=learnable)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Hyperbolic distance, shape without ``dim``; exactly 0 from a point to itself, with gradient 0 there.

        Differentiable once; the gradient is that of the space-like coordinates, 0 in the time-like one.

        Raises:
            ValueError: for integer or mixed dtypes, mixed devices, fewer than 2 coordinates or non-finite entries.
        """
        x, y = self._check_pair("x", x, "y", y, dim)
        (a, k), (b, _) = self._wide(x), self._wide(y)
        distance = (SpaceLikeDistance.apply(a, b, k) * k.sqrt()).to(x.dtype)
        return distance.unsqueeze(dim) if keepdim else distance

    @__scaling__(ScalingInfo(1))
    def dist0(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        """Distance from the origin, √k·asinh(|x|/√k)."""
        x = self._check("x", x, dim)
        space, k = self._wide(x)
        distance = (torch.asinh(torch.linalg.vector_norm(space / k.sqrt(), dim=-1)) * k.sqrt()).to(x.dtype)
        return distance.unsqueeze(dim) if keepdim else distance

    @__scaling__(ScalingInfo(u=-1))
    def expmap0(self, u: Tensor, *, project: bool = True, dim: int = -1) -> Tensor:
        """Exponential map at the origin: space-like part u·sinh(|u|/√k)/(|u|/√k). Tangents have u₀ = 0 there."""
        u = self._check("u", u, dim)
        move, k = self._wide(u)
        return self._complete(move * sinhc(move.square().sum(-1, keepdim=True) / k), dim, u.dtype)

    @__scaling__(ScalingInfo(1))
    def logmap0(self, y: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm at the origin: x·asinh(|x|/√k)/(|x|/√k), with time-like part 0."""
        y = self._check("y", y, dim)
        space, k = self._wide(y)
        tangent = space * asinhc(space / k.sqrt())
        return torch.cat([torch.zeros_like(tangent[..., :1]), tangent], -1).to(y.dtype).movedim(-1, dim)

    def expmap(self, x: Tensor, u: Tensor, *, norm_tan: bool = True, project: bool = True, dim: int = -1) -> Tensor:
        """Exponential map x cosh n + u sinh(n)/n, n = ‖u‖/√k, the norm taken without cancellation.

        Only the space-like part of u is read: tangency fixes u₀ = (x·u)/x₀.
        """
        x, u = self._check_pair("x", x, "u", u, dim)
        (space, k), (move, _) = self._wide(x), self._wide(u)
        squared = _tangent_inner(space, move, move, k) / k
        return self._complete(space * cosh_root(squared) + move * sinhc(squared), dim, x.dtype)

    retr = expmap

    def logmap(self, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm: tangent at x of length dist(x, y) towards y, 0 at y = x; its gradient is finite there too."""
        x, y = self._check_pair("x", x, "y", y, dim)
        (a, k), (b, _) = self._wide(x), self._wide(y)
        a, b = torch.broadcast_tensors(a, b)
        parts = DistanceParts(a, b, k)
        time = (k + a.square().sum(-1, keepdim=True)).sqrt()
        far = across(a, b) - unit(a) * time * (parts.radial + time * ratio(parts.angular, parts.norm_a))
        near_excess = inner_excess(a, b, k)
        near = b - a * (1 + near_excess)
        is_near = time.square() < 2 * k  # polar parts have no gradient at the origin itself
        space = torch.where(is_near, near, far)
        space = space * distance_over_sinh(torch.where(is_near, near_excess, parts.excess))
        return self._complete_tangent(a, space, dim, x.dtype)

    def transp(self, x: Tensor, y: Tensor, v: Tensor, *, dim: int = -1) -> Tensor:
        """Parallel transport v + ⟨y, v⟩/(k − ⟨x, y⟩)·(x + y) along the geodesic from x to y: v itself at y = x.

        Only the space-like part of v is read: tangency fixes v₀ = (x·v)/x₀.
        """
        x, y = self._check_pair("x", x, "y", y, dim)
        v = self._check_pair("x", x.movedim(-1, dim), "v", v, dim)[1]
        (a, k), (b, _), (c, _) = self._wide(x), self._wide(y), self._wide(v)
        require_broadcastable(0, x=a, y=b, v=c)
        time_a, time_b = (k + a.square().sum(-1, keepdim=True)).sqrt(), (k + b.square().sum(-1, keepdim=True)).sqrt()
        # ⟨y, v⟩ = ⟨y − x, v⟩ since ⟨x, v⟩ = 0, with the differences taken before the products
        climb = ((b - a) * (b + a)).sum(-1, keepdim=True) / (time_a + time_b)
        inner = ((b - a) * c).sum(-1, keepdim=True) - climb * (a * c).sum(-1, keepdim=True) / time_a
        pair = torch.broadcast_tensors(a, b)
        excess = DistanceParts(pair[0], pair[1], k).excess
        return self._complete_tangent(b, c + inner / (k * (2 + excess)) * (a + b), dim, x.dtype)

    def transp0(self, y: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Parallel transport of a tangent at the origin to y."""
        return self.transp(self.projx(torch.zeros_like(y), dim=dim), y, u, dim=dim)

    def transp0back(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Parallel transport of a tangent at x to the origin."""
        return self.transp(x, self.projx(torch.zeros_like(x), dim=dim), u, dim=dim)

    def norm(self, x: Tensor, u: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """‖u‖ of a tangent at x, the root of ``inner``; unlike geoopt's it takes x, as every other manifold does."""
        squared = self.inner(x, u, keepdim=keepdim, dim=dim)
        positive = squared > 0
        return torch.where(positive, torch.where(positive, squared, 1).sqrt(), 0)

    def random_normal(self, *size, mean=0, std=1, dtype=None, device=None) -> Tensor:
        """Points exp₀(v), v normal in the tangent space at the origin; ``size`` is the shape (…, 1 + d)."""
        self._assert_check_shape(size2shape(*size), "x")
        tangent = torch.randn(*size, dtype=dtype, device=device) * std + mean
        tangent[..., 0] = 0
        return geoopt.ManifoldTensor(self.expmap0(tangent).detach(), manifold=self)

    random = random_normal

    def origin(self, *size, dtype=None, device=None, seed=42) -> Tensor:
        """The point (√k, 0, …, 0); ``seed`` is part of geoopt's signature and unused."""
        self._assert_check_shape(size2shape(*size), "x")
        return geoopt.ManifoldTensor(self.projx(torch.zeros(*size, dtype=dtype, device=device)).detach(), manifold=self)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Inner product of tangents at x, from their space-like parts, so that ⟨u, u⟩ ≥ 0 at any radius."""
        x, u = self._check_pair("x", x, "u", u, dim)
        v = u if v is None else self._check_pair("x", x.movedim(-1, dim), "v", v, dim)[1]
        (a, k), (b, _), (c, _) = self._wide(x), self._wide(u), self._wide(v)
        product = _tangent_inner(a, b, c, k).squeeze(-1).to(x.dtype)
        return product.unsqueeze(dim) if keepdim else product

    def projx(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """The point with the same space-like part: x₀ = √(k + |x|²)."""
        x = self._check("x", x, dim)
        return self._complete(x[..., 1:].to(core_dtype(x)), dim, x.dtype)

    def _check_point_on_manifold(self, x: Tensor, *, atol=1e-5, rtol=1e-5, dim: int = -1):
        x = x.movedim(dim, -1)
        expected = self.projx(x)[..., 0]
        error = (x[..., 0] - expected).abs()
        ok = bool((error <= atol + rtol * expected).all())
        return ok, None if ok else f"`x_0 != sqrt(k + |x|^2)` by {error.max().item():.3g}, atol={atol}, rtol={rtol}"

    def _check_vector_on_tangent(self, x: Tensor, u: Tensor, *, atol=1e-5, rtol=1e-5, dim: int = -1):
        terms = (x.movedim(dim, -1) * u.movedim(dim, -1)).to(core_dtype(x))
        inner = terms[..., 1:].sum(-1) - terms[..., 0]
        ok = bool((inner.abs() <= atol + rtol * terms.abs().sum(-1)).all())
        return ok, None if ok else f"`<x, u> != 0`: {inner.abs().max().item():.3g}, atol={atol}, rtol={rtol}"

    def _complete(self, space: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
        root = self.k.to(space.dtype).sqrt()
        time = torch.hypot(root.expand(space.shape[:-1]), torch.linalg.vector_norm(space, dim=-1)).unsqueeze(-1)
        return torch.cat([time, space], -1).to(dtype).movedim(-1, dim)

    def _complete_tangent(self, base: Tensor, space: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
        time = (self.k.to(base.dtype) + base.square().sum(-1, keepdim=True)).sqrt()
        along = (base * space).sum(-1, keepdim=True) / time
        return torch.cat([along, space], -1).to(dtype).movedim(-1, dim)

    def _wide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Space-like part of x, and k, both in the dtype that is computed in."""
        wide = core_dtype(x)
        return x[..., 1:].to(wide), self.k.to(wide)

    @staticmethod
    def _check(name: str, x: Tensor, dim: int) -> Tensor:
        if isinstance(x, Tensor) and x.ndim:
            if not -x.ndim <= dim < x.ndim:
                raise ValueError(f"dim: expected {-x.ndim} to {x.ndim - 1} for {name} {tuple(x.shape)}, got {dim}")
            x = x.movedim(dim, -1)
        require_vectors(name, x, minimum=2)
        if x.device.type != "meta":  # a pair on two devices is refused by name
            require_finite(name, x.detach())
        return x

    def _check_pair(self, first: str, x: Tensor, second: str, y: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        x, y = self._check(first, x, dim), self._check(second, y, dim)
        require_same_kind(**{first: x, second: y})
        if x.shape[-1] != y.shape[-1]:
            raise ValueError(f"{second}: expected {x.shape[-1]} coordinates like {first}, got {y.shape[-1]}")
        if x.shape != y.shape:
            require_broadcastable(1, **{first: x, second: y})
        return x, y


def _tangent_inner(space: Tensor, u: Tensor, v: Tensor, k: Tensor) -> Tensor:
    """⟨u, v⟩ (…, 1) of the tangents with space-like parts u and v at the point with space-like part ``space``."""
    time_squared = k + space.square().sum(-1, keepdim=True)
    direction = unit(space)
    along_u, along_v = (direction * u).sum(-1, keepdim=True), (direction * v).sum(-1, keepdim=True)
    far = ((u - along_u * direction) * (v - along_v * direction)).sum(-1, keepdim=True)
    far = far + along_u * along_v * k / time_squared
    near = (u * v).sum(-1, keepdim=True)
    near = near - (space * u).sum(-1, keepdim=True) * (space * v).sum(-1, keepdim=True) / time_squared
    return torch.where(time_squared < 2 * k, near, far)  # polar parts have no gradient at the origin itself

"""The Grassmann manifold as a geoopt manifold: trains with geoopt's optimisers, inside ``Scaled`` and products."""

from __future__ import annotations

from typing import Literal

import geoopt
import torch
from geoopt.manifolds.base import Manifold, ScalingInfo
from geoopt.utils import size2shape
from torch import Tensor

from hyperspectral_geo.linalg import orthonormalize, polar, symmetric_function
from hyperspectral_geo.manifolds.angles import subspace_distance
from hyperspectral_geo.manifolds.geodesics import grassmann_exp, grassmann_log, grassmann_transport
from hyperspectral_geo.validation import require_finite, require_frames, require_orthonormal, require_pair

__all__ = ["Grassmann"]


class Grassmann(Manifold):
    r"""Grassmannian Gr(n, p) of p-dimensional subspaces of ℝⁿ.

    **Representation.** A point is a tensor (…, n, p) with orthonormal columns, XᵀX = I, and stands for its span: X and
    XQ are the same point for any orthogonal Q. A tangent is horizontal, (…, n, p) with XᵀU = 0.
    **Metric.** ⟨U, V⟩ = tr(UᵀV); the distance is the root sum of squared principal angles.

    Real float32 and float64 tensors, any batch shape, n ≥ p ≥ 1 (n = p is the manifold of one point).

    Args:
        retraction: ``"polar"``, ``"qr"`` or ``"cayley"``, all of second order. Polar and QR reach the same subspace in
            other bases; polar and Cayley need p×p decompositions only.

    References:
        Edelman, Arias, Smith 1998, physics/9806030; Bendokat, Zimmermann, Absil, arXiv 2011.13699.

    Example:
        >>> G = Grassmann()
        >>> U = geoopt.ManifoldParameter(G.random(8, 64, 4), manifold=G)
        >>> optimiser = geoopt.optim.RiemannianAdam([U], lr=0.1)
        >>> target = G.random(8, 64, 4)
        >>> before = G.dist(U, target).sum()
        >>> before.backward()
        >>> optimiser.step()
        >>> bool(G.dist(U, target).sum() < before)
        True
    """

    name = "Grassmann"
    ndim = 2
    reversible = False
    __scaling__ = Manifold.__scaling__.copy()

    def __init__(self, retraction: Literal["qr", "polar", "cayley"] = "polar") -> None:
        super().__init__()
        if retraction not in tuple(_RETRACTIONS):
            raise ValueError(f"retraction: expected one of {', '.join(_RETRACTIONS)}, got {retraction!r}")
        self.retraction = retraction

    def extra_repr(self) -> str:
        """What geoopt prints beside the name."""
        return f"retraction={self.retraction!r}"

    # points and tangents

    def projx(self, x: Tensor) -> Tensor:
        """Nearest matrix with orthonormal columns: the polar factor."""
        return polar(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Horizontal part U − X(XᵀU) of an ambient direction."""
        require_pair("x", x, "u", u)
        return u - x @ (x.mT @ u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Riemannian gradient of a function from its Euclidean gradient: the horizontal part."""
        return self.proju(x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """⟨U, V⟩ = tr(UᵀV), shape (…), or (…, 1, 1) with ``keepdim``."""
        require_pair("x", x, "u", u)
        if v is not None:
            require_pair("u", u, "v", v)
        return (u * (u if v is None else v)).sum((-1, -2), keepdim=keepdim)

    def norm(self, x: Tensor, u: Tensor, *, keepdim: bool = False) -> Tensor:
        """‖U‖, the root of the sum of squares; its gradient at zero is zero."""
        return torch.linalg.vector_norm(u, dim=(-2, -1), keepdim=keepdim)

    # geodesics

    @__scaling__(ScalingInfo(u=-1))
    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Exponential map, ``geodesics.grassmann_exp``."""
        return grassmann_exp(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Logarithm, ``geodesics.grassmann_log``; a documented choice at the cut locus, never NaN."""
        return grassmann_log(x, y)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Geodesic distance in radians, (Σ θ²)^½, accurate from coincident points to the cut locus."""
        require_pair("x", x, "y", y)
        distance = subspace_distance(x, y)
        return distance[..., None, None] if keepdim else distance

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Squared geodesic distance."""
        return self.dist(x, y, keepdim=keepdim).square()

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Parallel transport of V from X to Y along the shortest geodesic, as a tangent at this representative of Y.

        An isometry. Where the geodesic is not unique (cut locus) it follows the one of ``logmap``.
        """
        u = self.logmap(x, y)
        return grassmann_transport(x, u, v) @ polar(grassmann_exp(x, u).mT @ y)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """exp_X(U) and the parallel transport of V there."""
        return grassmann_exp(x, u), grassmann_transport(x, u, v)

    def transp_follow_expmap(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Parallel transport of V along t ↦ exp_X(tU)."""
        return grassmann_transport(x, u, v)

    # what optimisers use

    @__scaling__(ScalingInfo(u=-1))
    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Retraction R_X(U) chosen at construction: R_X(0) = X and its derivative there is the identity.

        With G = UᵀU, polar is (X + U)(I + G)^{−½}; qr is the Q factor of X + U with diag R > 0; cayley is the Cayley
        transform of UXᵀ − XUᵀ applied to X, in low-rank form (X(I − G/4) + U)(I + G/4)⁻¹.
        """
        require_pair("x", x, "u", u)
        require_orthonormal("x", x)
        require_finite("u", u.detach())
        return _RETRACTIONS[self.retraction](x, u)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """R_X(U) and V carried there by projection, which is what optimisers need of a momentum and is cheap."""
        y = self.retr(x, u)
        return y, self.proju(y, v)

    def transp_follow_retr(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """V carried to R_X(U) by projection."""
        return self.retr_transp(x, u, v)[1]

    # making and checking points

    def random(self, *size, dtype=None, device=None, generator: torch.Generator | None = None) -> Tensor:
        """Uniformly distributed subspaces: bases of Gaussian matrices, shape ``size`` = (…, n, p)."""
        self._assert_check_shape(size2shape(*size), "x")
        if dtype not in (None, torch.float32, torch.float64):
            raise ValueError(f"dtype: expected float32 or float64, got {dtype}; convert the result with .to")
        gaussian = torch.randn(*size, dtype=dtype, device=device, generator=generator)
        return geoopt.ManifoldTensor(orthonormalize(gaussian), manifold=self)

    random_uniform = random

    def origin(self, *size, dtype=None, device=None, seed=42) -> Tensor:
        """Span of the first p coordinate axes; ``seed`` is part of geoopt's signature and unused."""
        shape = size2shape(*size)
        self._assert_check_shape(shape, "x")
        axes = torch.eye(*shape[-2:], dtype=dtype, device=device)
        return geoopt.ManifoldTensor(axes.expand(*shape).clone(), manifold=self)

    def _check_shape(self, shape, name: str):
        ok, reason = super()._check_shape(shape, name)
        if ok and not 1 <= shape[-1] <= shape[-2]:
            return False, f"`{name}` should have shape (..., n, p) with n >= p >= 1, got {tuple(shape)}"
        return ok, reason

    def _check_point_on_manifold(self, x: Tensor, *, atol=1e-5, rtol=1e-5):
        require_frames("x", x)
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        error = (x.mT @ x - identity).abs().amax() if x.numel() else torch.zeros(())
        ok = bool(error <= atol + rtol)
        return ok, None if ok else f"`X^T X != I`: largest deviation {error.item():.3g}, atol={atol}, rtol={rtol}"

    def _check_vector_on_tangent(self, x: Tensor, u: Tensor, *, atol=1e-5, rtol=1e-5):
        error = (x.mT @ u).abs().amax() if u.numel() else torch.zeros(())
        ok = bool(error <= atol + rtol * u.abs().amax()) if u.numel() else True
        return ok, None if ok else f"`X^T U != 0`: largest entry {error.item():.3g}, atol={atol}, rtol={rtol}"


def _qr_retraction(x: Tensor, u: Tensor) -> Tensor:
    return orthonormalize(x + u)


def _polar_retraction(x: Tensor, u: Tensor) -> Tensor:
    # (X + U)ᵀ(X + U) rather than I + UᵀU: it also takes off what x itself is away from orthonormal
    step = x + u
    gram = step.mT @ step
    if _is_long(gram):
        return polar(step)
    return step @ symmetric_function(gram, torch.rsqrt, lambda g: -0.5 * g**-1.5)


def _cayley_retraction(x: Tensor, u: Tensor) -> Tensor:
    u = u - x @ (x.mT @ u)  # the low-rank form relies on XᵀU = 0, to rounding, where the others only need X + U
    quarter = (u.mT @ u) / 4
    identity = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    numerator = x @ (identity - quarter) + u
    y = torch.linalg.solve(identity + quarter, numerator, left=False)
    return polar(y) if _is_long(quarter) else y


def _is_long(gram: Tensor) -> bool:
    """Whether steps are so long that their Gram matrix, whose rounding grows with their square, needs another way."""
    return bool((gram.detach().diagonal(dim1=-2, dim2=-1) > 4).any())


_RETRACTIONS = {"qr": _qr_retraction, "polar": _polar_retraction, "cayley": _cayley_retraction}

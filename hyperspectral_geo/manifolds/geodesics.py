"""Geodesics of the Grassmannian: exponential, logarithm and parallel transport from p×p decompositions only.

A point is any X (…, n, p) with XᵀX = I and stands for its span; a tangent is a horizontal D (…, n, p) with XᵀD = 0;
the metric is ⟨D, E⟩ = tr(DᵀE), for which the length of a geodesic is the root sum of squared principal angles.
Every map is written as X·A + D·B with p×p matrices A and B that are smooth functions, so the n×p work is a handful of
matrix products, and gradients stay finite at zero tangents, coincident points and tied singular values.

References:
    A. Edelman, T. A. Arias, S. T. Smith, *The geometry of algorithms with orthogonality constraints*, SIAM J. Matrix
    Anal. Appl. 20 (1998), physics/9806030. T. Bendokat, R. Zimmermann, P.-A. Absil, *A Grassmann manifold handbook*,
    arXiv 2011.13699 (the Procrustes form of the logarithm).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.linalg import (
    add_product_,
    core_dtype,
    cos_and_sinc_sqrt,
    cos_sqrt,
    cos_sqrt_derivative,
    daleckii_krein,
    divided_difference,
    sinc_sqrt,
    sinc_sqrt_derivative,
    symmetrize,
)
from hyperspectral_geo.validation import orthonormal_tolerance, require_finite, require_orthonormal, require_pair

__all__ = ["grassmann_exp", "grassmann_log", "grassmann_transport"]


def grassmann_exp(x: Float[Tensor, "*#batch n p"], u: Float[Tensor, "*#batch n p"]) -> Float[Tensor, "*batch n p"]:
    """End of the geodesic from span(X) with velocity D: X cos√G + D sinc√G, G = DᵀD.

    cos√ and sinc√ are entire functions of G. One Newton–Schulz step polishes the result, so that float32 stays
    orthonormal to rounding; its first-order effect is part of the gradient.

    Args:
        x: point, orthonormal columns, shape (…, n, p), float32 or float64.
        u: horizontal tangent at x, radians, shape (…, n, p).

    Returns:
        Point (…, n, p). Differentiable in x and u (once), finite everywhere.

    Raises:
        ValueError: for wrong or differing shapes, dtypes or devices, or non-finite entries.

    Example:
        >>> x, u = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [math.pi / 6]])
        >>> grassmann_exp(x, u)
        tensor([[0.8660],
                [0.5000]])
    """
    require_pair("x", x, "u", u)
    return _Exp.apply(x, u)


def grassmann_log(x: Float[Tensor, "*#batch n p"], y: Float[Tensor, "*#batch n p"]) -> Float[Tensor, "*batch n p"]:
    """Shortest horizontal tangent at X whose geodesic ends in span(Y).

    With the SVD YᵀX = Q S Rᵀ and H = R S Rᵀ, log = (Y Q Rᵀ − X H) f(H), f(s) = arccos(s)/√(1 − s²).
    Invariant to the basis of span(Y); turns with that of X. At the cut locus (a principal angle of π/2) several
    shortest geodesics exist and the SVD picks one: the result is a valid logarithm, never NaN, though not continuous
    there; the gradient is held finite.

    Args:
        x: point, shape (…, n, p), float32 or float64.
        y: point, shape (…, n, p).

    Returns:
        Horizontal tangent (…, n, p), radians. Differentiable in x and y (once).

    Raises:
        ValueError: for wrong or differing shapes, dtypes or devices, or non-finite entries.

    Example:
        >>> grassmann_log(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])).abs()
        tensor([[0.0000],
                [1.5708]])
    """
    require_pair("x", x, "y", y)
    require_orthonormal("x", x)
    require_orthonormal("y", y)
    return _Log.apply(x, y)


def grassmann_transport(
    x: Float[Tensor, "*#batch n p"], u: Float[Tensor, "*#batch n p"], v: Float[Tensor, "*#batch n p"]
) -> Float[Tensor, "*batch n p"]:
    """Parallel transport of V along the geodesic t ↦ exp_X(tD), from t = 0 to 1.

    V − (X sinc√G + D (I − cos√G) G⁻¹) DᵀV with G = DᵀD; a tangent at the representative that ``grassmann_exp`` returns.
    Linear in V, an isometry, and finite at D = 0.

    Raises:
        ValueError: for wrong or differing shapes, dtypes or devices, or non-finite entries.
    """
    require_pair("x", x, "u", u)
    require_pair("x", x, "v", v)
    require_finite("x", x.detach())
    require_horizontal(x, u)
    sinc, versine = _Transport.apply(_finite_core("u", u, u.mT @ u))
    coupled = _finite_core("v", v, u.mT @ v)
    return v - (x @ (sinc @ coupled) + u @ (versine @ coupled))


def _finite_core(name: str, x: Tensor, core: Tensor) -> Tensor:
    """Pass ``core``, a p×p product of ``x``, on; a NaN or infinity anywhere in x has reached it, so p² entries tell."""
    if not bool(torch.isfinite(core.detach()).all()):
        require_finite(name, x.detach())
        raise ValueError(f"{name}: the products of its entries overflow {x.dtype}; scale it down or use float64")
    return core


def _require_tangent(x: Tensor, u: Tensor, frame: Tensor, slant: Tensor, gram: Tensor) -> None:
    """Refuse, beyond rounding, XᵀX − I ≠ 0 or XᵀU ≠ 0, where the formula would leave the manifold, and NaN."""
    if gram.numel() == 0:
        return
    _finite_core("u", u, gram)
    longest = gram.diagonal(dim1=-2, dim2=-1).sum(-1).max().clamp_min(1).sqrt()
    worst = torch.maximum(frame.abs().max(), slant.abs().max() / longest)
    if bool(worst <= orthonormal_tolerance(x.dtype)):
        return
    require_orthonormal("x", x)
    require_horizontal(x, u, slant)


def require_horizontal(x: Tensor, u: Tensor, slant: Tensor | None = None) -> None:
    """Raise ``ValueError`` unless XᵀU = 0 up to rounding; ``slant`` is XᵀU where it is known."""
    if u.numel() == 0:
        return
    slant = (x.mT @ u).detach() if slant is None else slant
    longest = torch.linalg.vector_norm(u.detach(), dim=(-2, -1)).max().clamp_min(1)
    if not bool(slant.abs().max() <= orthonormal_tolerance(x.dtype) * longest):
        require_finite("u", u.detach())
        raise ValueError(
            f"u: expected a horizontal tangent at x, X^T U = 0, got an entry of {slant.abs().max().item():.3g} for "
            f"a tangent of length {longest.item():.3g}; pass proju(x, u)"
        )


def _reduce_to(grad: Tensor, shape: torch.Size) -> Tensor:
    return grad if grad.shape == shape else grad.sum_to_size(shape)


def _combine(x: Tensor, a: Tensor, d: Tensor, b: Tensor) -> Tensor:
    """X·A + D·B in the dtype of x, with A and B from the p×p core."""
    shape = torch.broadcast_shapes(x.shape[:-2], d.shape[:-2])
    out = x @ a.to(x.dtype).expand(*shape, -1, -1)
    return add_product_(out, d, b.to(x.dtype))


class _Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, u: Tensor) -> Tensor:
        wide = core_dtype(u)
        gram, frame, slant = ((a.mT @ b).to(wide) for a, b in ((u, u), (x, x), (x, u)))
        frame.diagonal(dim1=-2, dim2=-1).sub_(1)
        _require_tangent(x, u, frame, slant, gram)
        cos, sinc = cos_and_sinc_sqrt(gram)
        # cos² + sinc G sinc = I, so YᵀY − I is what x and u bring in: a Newton–Schulz step of p×p products takes it off
        mixed = cos @ slant @ sinc
        polish = (cos @ frame @ cos + mixed + mixed.mT).mul_(-0.5)
        polish.diagonal(dim1=-2, dim2=-1).add_(1)
        y = _combine(x, cos @ polish, u, sinc @ polish)
        ctx.save_for_backward(x, u, y, gram, cos, sinc)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, u, y, gram, cos, sinc = ctx.saved_tensors
        values, vectors = torch.linalg.eigh(gram)
        grad = grad - y @ symmetrize(y.mT @ grad)  # the polish removes what leaves the Stiefel manifold
        cos, sinc = cos.to(x.dtype), sinc.to(x.dtype)
        towards_cos = symmetrize(x.mT @ grad).to(values.dtype)
        towards_sinc = symmetrize(u.mT @ grad).to(values.dtype)
        gram = daleckii_krein(values, vectors, towards_cos, cos_sqrt, cos_sqrt_derivative)
        gram = gram + daleckii_krein(values, vectors, towards_sinc, sinc_sqrt, sinc_sqrt_derivative)
        grad_u = grad @ sinc + 2 * (u @ gram.to(u.dtype))
        return _reduce_to(grad @ cos, x.shape), _reduce_to(grad_u, u.shape)


class _Log(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
        product = y.mT @ x
        if not bool(torch.isfinite(product).all()):
            require_finite("x", x)
            _finite_core("y", y, product)
        product = product.to(core_dtype(x))
        a, b = _log_core(product, wide=product.dtype != x.dtype)
        ctx.save_for_backward(x, y, product)
        return _combine(y, a, x, -b)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, y, product = ctx.saved_tensors
        left, s, right_t = torch.linalg.svd(product)
        a, b = (core.to(x.dtype) for core in _from_singular(left, s, right_t))
        towards_a = left.mT @ (y.mT @ grad).to(s.dtype) @ right_t.mT
        towards_b = -(right_t @ (x.mT @ grad).to(s.dtype) @ right_t.mT)
        core = (left @ _log_core_adjoint(s, towards_a, towards_b) @ right_t).to(x.dtype)
        return _reduce_to(y @ core - grad @ b, x.shape), _reduce_to(grad @ a.mT + x @ core.mT, y.shape)


def _log_core(product: Tensor, *, wide: bool) -> tuple[Tensor, Tensor]:
    """A = Q f(S) Rᵀ and B = R S f(S) Rᵀ of YᵀX = Q S Rᵀ.

    A core that is wider than the data can afford to square YᵀX, which halves the cost; items with an angle close to
    π/2, where squares are too small, go through the SVD.
    """
    if not wide or product.numel() == 0:
        return _from_singular(*torch.linalg.svd(product))
    squares, vectors = torch.linalg.eigh(product.mT @ product)
    small = squares[..., 0] < 1e-6
    s = squares.clamp_min(1e-6).sqrt()
    right = vectors * arc_ratio(s).unsqueeze(-2)
    a = product @ ((right / s.unsqueeze(-2)) @ vectors.mT)
    b = (right * s.unsqueeze(-2)) @ vectors.mT
    if bool(small.any()):
        a[small], b[small] = _from_singular(*torch.linalg.svd(product[small]))
    return a, b


def _from_singular(left: Tensor, s: Tensor, right_t: Tensor) -> tuple[Tensor, Tensor]:
    factor = arc_ratio(s)
    return (left * factor.unsqueeze(-2)) @ right_t, (right_t.mT * (factor * s).unsqueeze(-2)) @ right_t


def _log_core_adjoint(s: Tensor, towards_a: Tensor, towards_b: Tensor) -> Tensor:
    """Gradient of ⟨A, towards_a⟩ + ⟨B, towards_b⟩ by YᵀX, all in singular coordinates.

    A = Q f(S) Rᵀ moves by divided differences of f in its symmetric part and by (f_i + f_j)/(s_i + s_j) in its skew
    part; B = R s f(s) Rᵀ is a function of (YᵀX)ᵀ(YᵀX). Only the skew part is singular, at the cut locus, where
    s_i = s_j = 0; the sum is held at √eps.
    """
    factor = arc_ratio(s)
    sums = s.unsqueeze(-1) + s.unsqueeze(-2)
    safe = sums.clamp_min(math.sqrt(torch.finfo(s.dtype).eps))
    even, odd = symmetrize(towards_a), (towards_a - towards_a.mT) / 2
    even = even * divided_difference(arc_ratio, arc_ratio_derivative, s)
    odd = odd * (factor.unsqueeze(-1) + factor.unsqueeze(-2)) / safe
    slope = divided_difference(lambda t: t * arc_ratio(t), lambda t: arc_ratio(t) + t * arc_ratio_derivative(t), s)
    share = torch.where(sums > 0, s.unsqueeze(-1) / torch.where(sums > 0, sums, 1), 0.5)
    return even + odd + 2 * share * slope * symmetrize(towards_b)


class _Transport(torch.autograd.Function):
    """(sinc√G, (I − cos√G) G⁻¹) of a symmetric G; the second is ½ sinc²(½√G), which needs no division."""

    @staticmethod
    def forward(ctx, gram: Tensor):
        values, vectors = torch.linalg.eigh(gram.to(core_dtype(gram)))
        ctx.save_for_backward(values, vectors)
        apply = [(vectors * f(values).unsqueeze(-2)) @ vectors.mT for f in (sinc_sqrt, _versine_ratio)]
        return apply[0].to(gram.dtype), apply[1].to(gram.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_sinc: Tensor, grad_versine: Tensor):
        values, vectors = ctx.saved_tensors
        sinc = symmetrize(grad_sinc).to(values.dtype)
        versine = symmetrize(grad_versine).to(values.dtype)
        out = daleckii_krein(values, vectors, sinc, sinc_sqrt, sinc_sqrt_derivative)
        out = out + daleckii_krein(values, vectors, versine, _versine_ratio, _versine_ratio_derivative)
        return out.to(grad_sinc.dtype)


def _versine_ratio(g: Tensor) -> Tensor:
    return 0.5 * sinc_sqrt(g / 4) ** 2


def _versine_ratio_derivative(g: Tensor) -> Tensor:
    return 0.25 * sinc_sqrt(g / 4) * sinc_sqrt_derivative(g / 4)


def arc_ratio(s: Tensor) -> Tensor:
    """f(s) = arccos(s)/√(1 − s²) = θ/sin θ for s = cos θ; f(1) = 1, analytic through s = 1."""
    t = 1 - s
    near = t < 1e-3
    safe = torch.where(near, torch.zeros_like(s), s)
    return torch.where(near, _arc_series(t, terms=6), torch.acos(safe) / ((1 - safe) * (1 + safe)).sqrt())


def arc_ratio_derivative(s: Tensor) -> Tensor:
    """f′(s) = (s f(s) − 1)/(1 − s²), by its series where that cancels."""
    t = 1 - s
    near = t < 0.1
    safe = torch.where(near, torch.zeros_like(s), s)
    far = (safe * arc_ratio(safe) - 1) / ((1 - safe) * (1 + safe))
    return torch.where(near, -_arc_series(t, terms=13, derivative=True), far)


def _arc_series(t: Tensor, *, terms: int, derivative: bool = False) -> Tensor:
    """Series of f at s = 1 in t = 1 − s: sum of 2^k (k!)²/(2k+1)! t^k, or its derivative by t, by Horner."""
    out = torch.zeros_like(t)
    for k in range(terms - 1, -1 + derivative, -1):
        coefficient = 2.0**k * math.factorial(k) ** 2 / math.factorial(2 * k + 1)
        out = out * t + (coefficient * k if derivative else coefficient)
    return out

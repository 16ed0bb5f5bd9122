"""Batched kernels whose gradients stay finite: orthonormal bases, polar factors, functions of symmetric matrices.

``torch.linalg.svd`` and ``torch.linalg.eigh`` differentiate single singular and eigenvectors, which do not exist as
functions where values are tied; their gradients are NaN there. What is computed here (a span, a polar factor, a
function of a matrix) is smooth at ties, and the backward passes below use that: they are written with divided
differences (Daleckii and Krein 1965; Higham, *Functions of Matrices*, 2008, section 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.validation import require_finite, require_floating, require_frames

__all__ = [
    "add_product_",
    "core_dtype",
    "cos_and_sinc_sqrt",
    "cos_sqrt",
    "divided_difference",
    "orthonormalize",
    "polar",
    "sinc_sqrt",
    "symmetric_function",
    "symmetrize",
]

# Gauss-Legendre nodes on [0, 1]. Eight points integrate the derivatives used here over steps of 1/2 to 1e-16.
_LEGENDRE = np.polynomial.legendre.leggauss(8)
_NODES, _NODE_WEIGHTS = (1 + _LEGENDRE[0]) / 2, _LEGENDRE[1] / 2
_STEP = 0.5


def symmetrize(a: Float[Tensor, "*batch p p"]) -> Float[Tensor, "*batch p p"]:
    """Symmetric part (A + Aᵀ)/2."""
    return (a + a.mT) / 2


def core_dtype(x: Tensor) -> torch.dtype:
    """Dtype for the small p×p matrices: float64 where the device has it, for there it costs next to nothing."""
    return x.dtype if x.device.type == "mps" else torch.float64


def add_product_(
    out: Float[Tensor, "*batch n p"],
    a: Float[Tensor, "*#batch n k"],
    b: Float[Tensor, "*#batch k p"],
    *,
    alpha: float = 1.0,
) -> Float[Tensor, "*batch n p"]:
    """``out += alpha·a @ b`` in place, by one fused product where the shapes allow it.

    Tall matrices cost as much to allocate as to multiply, so what can be added in place is.
    """
    if out.ndim == 2:
        return out.addmm_(a, b, alpha=alpha)
    if out.ndim == 3 and a.ndim == b.ndim == 3 and len(a) == len(b) == len(out):
        return out.baddbmm_(a, b, alpha=alpha)
    return out.add_(a @ b, alpha=alpha)


def orthonormalize(a: Float[Tensor, "*batch n p"]) -> Float[Tensor, "*batch n p"]:
    """Orthonormal basis Q of the column span, from A = QR with diag(R) > 0.

    Args:
        a: linearly independent columns, shape (…, n, p) with n ≥ p ≥ 1, float32 or float64.

    Returns:
        Q of the same shape, QᵀQ = I. Differentiable.

    Raises:
        ValueError: for a wrong shape or dtype, non-finite entries, or columns that are dependent to working precision
            (|R_jj| ≤ n·eps·‖a_j‖ for a column a_j: what is left of it is rounding).

    Example:
        >>> orthonormalize(torch.tensor([[2.0, 1.0], [0.0, 3.0]])).abs()
        tensor([[1., 0.],
                [0., 1.]])
    """
    require_frames("a", a)
    q, r = torch.linalg.qr(a)
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    _require_independent(a, diagonal.detach().abs())
    return q * torch.where(diagonal < 0, -1.0, 1.0).to(a.dtype).unsqueeze(-2)


def _require_independent(a: Tensor, diagonal: Tensor) -> None:
    a = a.detach()
    n, p = a.shape[-2:]
    floor = n * torch.finfo(a.dtype).eps * torch.linalg.vector_norm(a, dim=-2)
    if bool((diagonal > floor).all()):
        return
    require_finite("a", a)
    index = torch.nonzero(diagonal <= floor)[0].tolist()
    raise ValueError(
        f"a: expected {p} linearly independent columns, but column {index[-1]}"
        + (f" of item {tuple(index[:-1])}" if index[:-1] else "")
        + " depends on the columns before it; drop it, or take the leading left singular vectors"
    )


def polar(a: Float[Tensor, "*batch n p"]) -> Float[Tensor, "*batch n p"]:
    """Orthonormal polar factor U of A = UH, H = (AᵀA)^{1/2}: the nearest matrix with orthonormal columns.

    With A = P diag(s) Rᵀ, U = P Rᵀ. The gradient divides by s_i + s_j (never by s_i − s_j), so it is finite at ties. It
    truly diverges as A loses rank; there the sums are held at eps·max(s), so that it stays finite.

    Args:
        a: shape (…, n, p) with n ≥ p ≥ 1, float32 or float64. Rank-deficient input gives a valid, non-unique factor.

    Raises:
        ValueError: for a wrong shape or dtype or non-finite entries.

    References:
        N. J. Higham, *Computing the polar decomposition, with applications*, SIAM J. Sci. Stat. Comput. 7 (1986).

    Example:
        >>> polar(torch.diag(torch.tensor([3.0, 1.0])))
        tensor([[1., 0.],
                [0., 1.]])
    """
    require_frames("a", a)
    require_finite("a", a.detach())
    return _Polar.apply(a)


class _Polar(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor) -> Tensor:
        q, t = torch.linalg.qr(a) if a.shape[-2] > a.shape[-1] else (None, a)
        left, s, right_t = torch.linalg.svd(t)
        left = left if q is None else q @ left
        ctx.save_for_backward(left, s, right_t)
        return left @ right_t

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        left, s, right_t = ctx.saved_tensors
        # 1e3·tiny: the reciprocal of eps·tiny would be infinite
        floor = (torch.finfo(s.dtype).eps * s.amax(-1, keepdim=True)).clamp_min(1e3 * torch.finfo(s.dtype).tiny)
        rotated = grad @ right_t.mT
        core = left.mT @ rotated
        sums = torch.maximum(s.unsqueeze(-1) + s.unsqueeze(-2), floor.unsqueeze(-1))
        normal = (rotated - left @ core) / torch.maximum(s, floor).unsqueeze(-2)
        return (left @ ((core - core.mT) / sums) + normal) @ right_t


def divided_difference(
    f: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch p"]
) -> Float[Tensor, "*batch p p"]:
    """Matrix of (f(x_i) − f(x_j)) / (x_i − x_j), with f′(x_i) where x_i = x_j, to full precision in between.

    Where the quotient would cancel, ∫₀¹ f′(x_j + t(x_i − x_j)) dt is taken by Gauss–Legendre instead: pairs at most 1/2
    apart whose values differ by less than a hundredth of their size. f has to be analytic near the values in x.

    Example:
        >>> divided_difference(torch.square, lambda t: 2 * t, torch.tensor([1.0, 1.0, 3.0]))[0]
        tensor([2., 2., 4.])
    """
    a, b = x.unsqueeze(-1), x.unsqueeze(-2)
    gap = a - b
    at_a, at_b = f(a), f(b)
    rise = at_a - at_b
    close = (gap == 0) | ((gap.abs() <= _STEP) & (rise.abs() <= 0.01 * (at_a.abs() + at_b.abs())))
    far = rise / torch.where(close, torch.ones_like(gap), gap)
    near = torch.zeros_like(gap)
    for node, weight in zip(_NODES.tolist(), _NODE_WEIGHTS.tolist(), strict=True):
        near += weight * derivative(b + node * torch.where(close, gap, torch.zeros_like(gap)))
    return torch.where(close, near, far)


def symmetric_function(
    a: Float[Tensor, "*batch p p"], f: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]
) -> Float[Tensor, "*batch p p"]:
    """f(A) = V f(Λ) Vᵀ of a symmetric A = VΛVᵀ, with the Daleckii–Krein gradient: finite at ties.

    Only the symmetric part of ``a`` is used. ``f`` and its ``derivative`` act elementwise on eigenvalues.

    Raises:
        ValueError: if ``a`` is not a floating-point batch of square matrices or holds non-finite entries.

    Example:
        >>> symmetric_function(torch.diag(torch.tensor([1.0, 4.0])), torch.sqrt, lambda x: 0.5 / x.sqrt())
        tensor([[1., 0.],
                [0., 2.]])
    """
    require_floating("a", a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"a: expected square matrices (..., p, p), got shape {tuple(a.shape)}")
    require_finite("a", a.detach())
    return _SymmetricFunction.apply(a, f, derivative)


class _SymmetricFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, f, derivative) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetrize(a))
        ctx.save_for_backward(values, vectors)
        ctx.f, ctx.derivative = f, derivative
        return (vectors * f(values).unsqueeze(-2)) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        values, vectors = ctx.saved_tensors
        return daleckii_krein(values, vectors, symmetrize(grad), ctx.f, ctx.derivative), None, None


def daleckii_krein(
    values: Tensor, vectors: Tensor, direction: Tensor, f: Callable[[Tensor], Tensor], derivative: Callable
) -> Tensor:
    """Derivative of A ↦ f(A) at A = V diag(values) Vᵀ along a symmetric direction; the map is its own adjoint."""
    rotated = vectors.mT @ direction @ vectors
    return vectors @ (rotated * divided_difference(f, derivative, values)) @ vectors.mT


def cos_sqrt(g: Tensor) -> Tensor:
    """cos(√g) for g ≥ 0, elementwise; rounding below zero is read as zero."""
    return torch.cos(g.clamp_min(0).sqrt())


def sinc_sqrt(g: Tensor) -> Tensor:
    """sin(√g)/√g for g ≥ 0, elementwise, 1 at g = 0."""
    return torch.sinc(g.clamp_min(0).sqrt() / math.pi)


# Taylor coefficients of cos√ and sinc√, in four blocks of four powers (Paterson and Stockmeyer's scheme); 1e-19 is
# left of either series for arguments up to 4.
_SERIES = torch.tensor(
    [[(-1) ** k / math.factorial(2 * k + odd) for k in range(16)] for odd in (0, 1)], dtype=torch.float64
).reshape(8, 4)


def cos_and_sinc_sqrt(
    g: Float[Tensor, "*batch p p"],
) -> tuple[Float[Tensor, "*batch p p"], Float[Tensor, "*batch p p"]]:
    """cos√G and sinc√G of a symmetric positive semi-definite G, without gradient.

    By a Taylor polynomial in nine products where all traces are at most 4, by eigenvalues otherwise: both are good to a
    few eps, and small steps, which are most of what is asked for, cost a third.
    """
    if g.numel() == 0 or bool(g.diagonal(dim1=-2, dim2=-1).sum(-1).max() > 4):
        values, vectors = torch.linalg.eigh(g)
        cos, sinc = (vectors * f(values).unsqueeze(-2) for f in (cos_sqrt, sinc_sqrt))
        return cos @ vectors.mT, sinc @ vectors.mT
    square = g @ g
    powers = torch.stack([torch.eye(g.shape[-1], dtype=g.dtype, device=g.device).expand_as(g), g, square, square @ g])
    blocks = (_SERIES.to(g) @ powers.flatten(1)).reshape(2, 4, *g.shape)
    fourth = square @ square
    total = blocks[:, 3]
    for block in (2, 1, 0):
        total = blocks[:, block] + total @ fourth
    return total[0], total[1]


def cos_sqrt_derivative(g: Tensor) -> Tensor:
    """d/dg cos(√g) = −sinc(√g)/2."""
    return -0.5 * sinc_sqrt(g)


def sinc_sqrt_derivative(g: Tensor) -> Tensor:
    """d/dg sinc(√g) = (cos√g − sinc√g)/(2g), by its Taylor series below g = 1, where the formula cancels."""
    g = g.clamp_min(0)
    small = g < 1
    t = torch.where(small, g, torch.zeros_like(g))
    # sum over k >= 1 of (-1)^k k t^(k-1) / (2k+1)!, by Horner
    series = torch.zeros_like(g)
    for k in range(10, 0, -1):
        series = series * t + (-1) ** k * k / math.factorial(2 * k + 1)
    safe = torch.where(small, torch.ones_like(g), g)
    return torch.where(small, series, (cos_sqrt(safe) - sinc_sqrt(safe)) / (2 * safe))

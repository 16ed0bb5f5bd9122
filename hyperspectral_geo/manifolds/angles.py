"""Principal angles between subspaces, exact at every size, and the distances that are functions of them."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.linalg import add_product_, core_dtype
from hyperspectral_geo.validation import (
    orthonormal_tolerance,
    require_broadcastable,
    require_frames,
    require_orthonormal,
    require_same_kind,
)

__all__ = ["DistanceKind", "principal_angles", "subspace_distance"]

DistanceKind = Literal["geodesic", "chordal", "projection", "binet_cauchy", "martin", "asimov"]


def principal_angles(x: Float[Tensor, "*#batch n p"], y: Float[Tensor, "*#batch n q"]) -> Float[Tensor, "*batch m"]:
    """Principal angles θ_1 ≤ … ≤ θ_m between span(X) and span(Y), m = min(p, q), in radians.

    cos θ are the singular values of XᵀY. Where cos² θ ≥ ½ they no longer determine θ to working precision, so there the
    sines are taken, from the residual (I − XXᵀ)Y in principal coordinates. The absolute error stays within about 10 eps
    from θ = 0 to π/2.

    Args:
        x: orthonormal columns, shape (…, n, p), float32 or float64.
        y: orthonormal columns, shape (…, n, q); batch dimensions broadcast.

    Returns:
        Shape (…, min(p, q)), ascending, in [0, π/2]. Differentiable (once): the gradients are the Riemannian ones,
        horizontal at x and y; where θ_i = 0, which is not differentiable, the subgradient 0 is used.

    Raises:
        ValueError: for wrong shapes, differing dtypes or devices, non-finite entries, or columns that are not
            orthonormal.

    References:
        Å. Björck, G. H. Golub, *Numerical methods for computing angles between linear subspaces*, Math. Comp. 27
        (1973).
        A. V. Knyazev, M. E. Argentati, *Principal angles between subspaces in an A-based scalar product*, SIAM J. Sci.
        Comput. 23 (2002).

    Example:
        >>> t = torch.tensor(1e-6, dtype=torch.float64)
        >>> x = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        >>> f"{principal_angles(x, torch.stack([t.cos(), t.sin()])[:, None]).item():.12g}"
        '1e-06'
    """
    for name, frames in (("x", x), ("y", y)):
        require_frames(name, frames)
    require_same_kind(x=x, y=y)
    if x.shape[-2] != y.shape[-2]:
        raise ValueError(
            f"y: expected vectors of length {x.shape[-2]} like x, got {y.shape[-2]} (shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}); subspaces of different ambient spaces have no angles"
        )
    require_broadcastable(2, x=x, y=y)
    return _Angles.apply(x, y) if x.shape[-1] >= y.shape[-1] else _Angles.apply(y, x)


def subspace_distance(
    x: Float[Tensor, "*#batch n p"],
    y: Float[Tensor, "*#batch n q"],
    kind: DistanceKind = "geodesic",
    *,
    unequal: Literal["containment", "metric"] = "containment",
) -> Float[Tensor, "*batch"]:
    """Distance between span(X) and span(Y) as a function of their principal angles.

    ============  =========================  ===========
    kind          formula                    largest
    ============  =========================  ===========
    geodesic      (Σ θ²)^½                   √m·π/2
    chordal       (Σ sin² θ)^½               √m
    projection    sin θ_m                    1
    binet_cauchy  (1 − Π cos² θ)^½           1
    martin        (−Σ log cos² θ)^½          ∞ at θ = π/2
    asimov        θ_m                        π/2
    ============  =========================  ===========

    Args:
        x: orthonormal columns (…, n, p).
        y: orthonormal columns (…, n, q), q ≠ p allowed.
        kind: one of the table.
        unequal: what p ≠ q means. ``"containment"`` (Ye and Lim's δ) is the distance from the smaller subspace to the
            nearest one inside the larger, 0 to rounding if contained; not a metric across dimensions. ``"metric"`` adds
            abs(p − q) angles of π/2, which is a metric on subspaces of all dimensions.

    Returns:
        Shape (…), radians for geodesic and asimov. Differentiable (once); the subgradient 0 is used at distance 0.

    Raises:
        ValueError: as ``principal_angles``; for an unknown kind.

    References:
        K. Ye, L.-H. Lim, *Schubert varieties and distances between subspaces of different dimensions*, SIAM J. Matrix
        Anal. Appl. 37 (2016), arXiv 1407.0900.

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> subspace_distance(e[:, :2], e[:, 1:], kind="chordal")
        tensor(1., dtype=torch.float64)
        >>> subspace_distance(e[:, :1], e[:, :2], unequal="metric").item() == math.pi / 2
        True
    """
    if kind not in tuple(_FROM_ANGLES):
        raise ValueError(f"kind: expected one of {', '.join(_FROM_ANGLES)}, got {kind!r}")
    if unequal not in ("containment", "metric"):
        raise ValueError(f"unequal: expected 'containment' or 'metric', got {unequal!r}")
    angles = principal_angles(x, y)
    missing = abs(x.shape[-1] - y.shape[-1])
    if unequal == "metric" and missing:
        if kind == "martin":
            return torch.full_like(angles[..., 0], math.inf)
        right = angles.new_full((*angles.shape[:-1], missing), math.pi / 2)
        angles = torch.cat([angles, right], dim=-1)
    return _FROM_ANGLES[kind](angles)


class _Angles(torch.autograd.Function):
    """Angles for q ≤ p.

    The residual is taken in principal coordinates, so its Gram matrix is graded by the angles and holds each sine to
    full relative precision, where the Gram matrix of (I − XXᵀ)Y would only give √eps. Eigenvalues of that graded matrix
    in float64 serve float32 input; float64 input takes the singular values of its Cholesky factor.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        product = _core_product(x, y)
        if product.dtype == x.dtype:
            _, cosines, right_t = torch.linalg.svd(product, full_matrices=False)
            right = _decoupled(product, cosines, right_t.mT)
            towards = product @ right
        else:  # √eps of the core is below eps of the input: squares are accurate enough, and faster
            squares, right = torch.linalg.eigh(product.mT @ product)
            cosines, right = squares.clamp_min(0).sqrt().flip(-1), right.flip(-1)
            towards = product @ right
        angles = torch.acos(cosines.clamp(max=1))
        small = _small(cosines)
        count = small.shape[-1]
        if count < cosines.shape[-1]:  # what is left out is not seen by the check of the residual
            require_orthonormal("x", x)
            require_orthonormal("y", y)
        if count == 0:
            return angles.to(x.dtype)
        residual = _residual(x, y, towards[..., :count], right[..., :count])
        gram = _graded_gram(residual, cosines[..., :count], small, placeholder=1.0)
        if gram.dtype == x.dtype:
            sines = torch.linalg.svdvals(torch.linalg.cholesky_ex(gram).L).flip(-1)
        else:
            sines = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
        angles[..., :count] = torch.where(small, torch.asin(sines.clamp(max=1)), angles[..., :count])
        return angles.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, y = ctx.saved_tensors
        left, cosines, right_t = torch.linalg.svd(_core_product(x, y), full_matrices=False)
        right = right_t.mT
        small = _small(cosines)
        count = small.shape[-1]
        if count:
            head = left[..., :count] * cosines[..., None, :count]
            residual = _residual(x, y, head, right[..., :count])
            # distinct placeholders keep the columns of large angles in place, behind the sorted small ones
            rank = torch.arange(1, count + 1, dtype=cosines.dtype, device=cosines.device)
            gram = _graded_gram(residual, cosines[..., :count], small, placeholder=rank)
            turn = torch.linalg.svd(torch.linalg.cholesky_ex(gram).L)[0].flip(-1)
            left = torch.cat([left[..., :count] @ turn, left[..., count:]], -1)
            right = torch.cat([right[..., :count] @ turn, right[..., count:]], -1)
        left, right = left.to(x.dtype), right.to(x.dtype)
        from_x, from_y = x @ left, y @ right
        grad_x = -(_unit_columns(from_y - x @ (x.mT @ from_y)) * grad.unsqueeze(-2)) @ left.mT
        grad_y = -(_unit_columns(from_x - y @ (y.mT @ from_x)) * grad.unsqueeze(-2)) @ right.mT
        return grad_x.sum_to_size(x.shape), grad_y.sum_to_size(y.shape)


def _core_product(x: Tensor, y: Tensor) -> Tensor:
    product = x.mT @ y
    if not bool(torch.isfinite(product).all()):  # LAPACK would stop on it with a message of its own
        require_orthonormal("x", x)
        require_orthonormal("y", y)
    return product.to(core_dtype(x))


def _decoupled(product: Tensor, cosines: Tensor, right: Tensor) -> Tensor:
    """Right singular vectors after one Jacobi step between those of well separated cosines.

    LAPACK leaves up to 20 eps of the large angles in the small ones, whose sines are then no smaller than that.
    """
    moved = product @ right
    gap = cosines.square().unsqueeze(-2) - cosines.square().unsqueeze(-1)
    apart = gap.abs() > 0.05
    turn = torch.where(apart, (moved.mT @ moved) / torch.where(apart, gap, 1), 0)
    return right + right @ turn


def _small(cosines: Tensor) -> Tensor:
    """Mask of the angles up to π/4, cut to as many leading columns as the batch item with most of them has.

    Not cut where that saves less than half: the residual then also shows whether the bases are orthonormal.
    """
    small = cosines.square() >= 0.5
    count = int(small.sum(-1).max()) if small.numel() else 0
    return small if 2 * count > cosines.shape[-1] else small[..., :count]


def _residual(x: Tensor, y: Tensor, towards: Tensor, right: Tensor) -> Tensor:
    """(I − XXᵀ)YV as YV − X(XᵀYV): columns of length sin θ, orthogonal up to rounding."""
    shape = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return add_product_(y @ right.to(y.dtype).expand(*shape, -1, -1), x, towards.to(x.dtype), alpha=-1.0)


def _graded_gram(residual: Tensor, cosines: Tensor, small: Tensor, *, placeholder: float | Tensor) -> Tensor:
    """Gram matrix of the residual on the small angles, placeholder² on the diagonal of the others."""
    gram = (residual.mT @ residual).to(core_dtype(residual))
    # Pythagoras: residual and projection of orthonormal vectors have Gram matrices that add up to I
    whole = gram + torch.diag_embed(cosines.square())
    whole.diagonal(dim1=-2, dim2=-1).sub_(1)
    if whole.numel() and not bool(whole.abs().max() <= orthonormal_tolerance(residual.dtype)):
        raise ValueError(
            f"x, y: expected orthonormal columns, got principal vectors whose Gram matrix is off the identity by "
            f"{whole.abs().max().item():.3g}; pass both through linalg.orthonormalize"
        )
    gram = torch.where(small.unsqueeze(-1) & small.unsqueeze(-2), gram, torch.zeros_like(gram))
    # (4 eps)² on the diagonal moves a sine by less than 4 eps, and lets Cholesky pass coincident subspaces
    floor = (4 * torch.finfo(gram.dtype).eps) ** 2
    gram.diagonal(dim1=-2, dim2=-1).add_(torch.where(small, torch.full_like(cosines, floor), placeholder**2))
    return gram


def _unit_columns(a: Tensor) -> Tensor:
    """Columns scaled to length one; columns that are rounding only become zero."""
    length = torch.linalg.vector_norm(a, dim=-2, keepdim=True)
    real = length > 8 * torch.finfo(a.dtype).eps
    return torch.where(real, a / torch.where(real, length, torch.ones_like(length)), torch.zeros_like(a))


def _sqrt(value: Tensor) -> Tensor:
    """√ with subgradient 0 at 0."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, torch.ones_like(value)).sqrt(), torch.zeros_like(value))


def _log_cos_squared(angles: Tensor) -> Tensor:
    """log cos² θ without loss near 0 (through the sine) and near π/2 (through the cosine)."""
    small = angles < math.pi / 4
    smallest = torch.finfo(angles.dtype).tiny  # the float32 number next to π/2 is above it
    of_sine = torch.log1p(-torch.where(small, angles, torch.zeros_like(angles)).sin().square())
    return torch.where(
        small, of_sine, 2 * torch.where(small, torch.zeros_like(angles), angles).cos().clamp_min(smallest).log()
    )


_FROM_ANGLES = {
    "geodesic": lambda t: torch.linalg.vector_norm(t, dim=-1),
    "chordal": lambda t: torch.linalg.vector_norm(t.sin(), dim=-1),
    "projection": lambda t: t[..., -1].sin(),
    "binet_cauchy": lambda t: _sqrt(-torch.expm1(_log_cos_squared(t).sum(-1))),
    "martin": lambda t: _sqrt(-_log_cos_squared(t).sum(-1)),
    "asimov": lambda t: t[..., -1],
}

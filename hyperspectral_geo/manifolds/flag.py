"""The flag mean: the subspace nearest to given subspaces of any dimensions in the chordal distance, in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.linalg import core_dtype
from hyperspectral_geo.validation import (
    require_frames,
    require_orthonormal,
    require_same_kind,
    resolve_weights,
    spread_weights,
)

__all__ = ["flag_mean"]


def flag_mean(
    points: Float[Tensor, "*batch k n p"] | Sequence[Float[Tensor, "*batch n _"]],
    weights: Float[Tensor, "*#batch k"] | Sequence[float] | None = None,
    *,
    dim: int | None = None,
) -> Float[Tensor, "*batch n dim"]:
    """Flag mean: the leading eigenvectors of Σ w_i X_i X_iᵀ, argmin over M of Σ w_i chordal(M, X_i)².

    Leading columns are nested: the first d columns are the flag mean of dimension d. Needs no start and no iteration.

    Args:
        points: orthonormal bases, (…, k, n, p), or a sequence of (…, n, p_i) with different p_i.
        weights: k numbers ≥ 0, or (…, k), rescaled to sum to one; equal by default.
        dim: dimension of the mean, the smallest p_i by default; at most min(n, Σ p_i).

    Returns:
        Basis (…, n, dim), columns by falling eigenvalue. Differentiable (once): the gradient of the span, finite at
        ties among the kept eigenvalues; at a tie across the cut, where the mean is not unique, it is held finite.

    Raises:
        ValueError: for wrong shapes, dtypes, weights or ``dim``, or bases that are not orthonormal.

    References:
        B. Draper, M. Kirby, J. Marks, T. Marrinan, C. Peterson, *A flag representation for finite collections of
        subspaces of mixed dimensions*, Linear Algebra Appl. 451 (2014). T. Marrinan et al., CVPR 2014.

    Example:
        >>> e = torch.eye(3, dtype=torch.float64)
        >>> flag_mean([e[:, :1], e[:, :2], e[:, :2]], dim=1).abs().flatten()
        tensor([1., 0., 0.], dtype=torch.float64)
    """
    if not isinstance(points, (Tensor, Sequence)):
        raise ValueError(f"points: expected a tensor (..., k, n, p) or a sequence of them, got {type(points).__name__}")
    frames = list(points.unbind(-3)) if isinstance(points, Tensor) and points.ndim > 2 else points
    if isinstance(frames, Tensor) or len(frames) == 0:
        raise ValueError("points: expected (..., k, n, p) with k >= 1, or a non-empty sequence of (..., n, p_i) bases")
    for i, x in enumerate(frames):
        require_frames(f"points[{i}]", x)
        require_same_kind(**{"points[0]": frames[0], f"points[{i}]": x})
        if x.shape[:-1] != frames[0].shape[:-1]:
            raise ValueError(
                f"points[{i}]: expected shape {tuple(frames[0].shape[:-1])} + (p,) like points[0], got {tuple(x.shape)}"
            )
        require_orthonormal(f"points[{i}]", x)
    sizes = [x.shape[-1] for x in frames]
    dim = min(sizes) if dim is None else dim
    largest = min(frames[0].shape[-2], sum(sizes))
    if not isinstance(dim, int) or not 1 <= dim <= largest:
        raise ValueError(f"dim: expected a whole number from 1 to {largest}, got {dim!r}")
    w = resolve_weights(weights, len(frames), like=frames[0])
    beside = torch.cat(list(frames), dim=-1)
    w = spread_weights(w, beside.shape[:-2])
    each = torch.repeat_interleave(w, torch.tensor(sizes, device=w.device), dim=-1)
    return _DominantSubspace.apply(beside, each, dim)


class _DominantSubspace(torch.autograd.Function):
    """Leading eigenvectors of B diag(w) Bᵀ for B (…, n, m) and w (…, m), through the smaller of AAᵀ, AᵀA, A = B√w."""

    @staticmethod
    def forward(ctx, b: Tensor, weights: Tensor, dim: int) -> Tensor:
        n, m = b.shape[-2:]
        wide = b.to(core_dtype(b)) * weights.to(core_dtype(b)).sqrt().unsqueeze(-2)
        if n <= m:
            squares, vectors = torch.linalg.eigh(wide @ wide.mT)
        else:
            squares, right = torch.linalg.eigh(wide.mT @ wide)
            vectors = torch.linalg.qr(wide @ right.flip(-1))[0].flip(-1)
        squares, vectors = squares.flip(-1), vectors.flip(-1)
        ctx.dim = dim
        ctx.save_for_backward(b, weights, squares, vectors)
        return vectors[..., :dim].to(b.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        b, weights, squares, vectors = ctx.saved_tensors
        wide, grad = b.to(squares.dtype), grad.to(squares.dtype)
        kept, rest = vectors[..., : ctx.dim], vectors[..., ctx.dim :]
        top, low = squares[..., None, : ctx.dim], squares[..., ctx.dim :, None]
        floor = torch.finfo(squares.dtype).eps * squares[..., :1, None]
        inside = rest @ ((rest.mT @ grad) / torch.maximum(top - low, floor))
        outside = (grad - vectors @ (vectors.mT @ grad)) / torch.maximum(top, floor)
        normal = inside + outside
        along, across = kept.mT @ wide, normal.mT @ wide
        on_b = (normal @ along + kept @ across) * weights.unsqueeze(-2)
        return on_b.to(b.dtype), (along * across).sum(-2).to(weights.dtype), None

"""Singular value decompositions of the modules in their joint basis, at the cost of their ranks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint

__all__ = ["module_svd", "numerical_rank", "polar_factor"]


def module_svd(joint: Joint, t: int) -> tuple[Float[Tensor, "a k"], Float[Tensor, " k"], Float[Tensor, "k b"]]:
    """U, σ descending, Vᵀ of the core of module t, k = min(r_t, a, b): what lies beyond its rank is not computed.

    From two QR decompositions of a×r and b×r factors and an r×r SVD where the module came as factors.
    """
    a, b = joint.cores.shape[1:]
    k = min(joint.ranks[t], a, b)
    if not joint.parts or joint.ranks[t] >= min(a, b):
        u, s, vh = torch.linalg.svd(joint.cores[t], full_matrices=False)
        return u[:, :k], s[:k], vh[:k]
    p, q = joint.parts[t]
    q_left, r_left = torch.linalg.qr(p)
    q_right, r_right = torch.linalg.qr(q.mT)
    u, s, vh = torch.linalg.svd(r_left @ r_right.mT)
    return q_left @ u, s, vh @ q_right.mT


def numerical_rank(s: Float[Tensor, " k"], tolerance: float) -> int:
    """How many of the singular values, descending, exceed ``tolerance`` times the largest."""
    return int((s > tolerance * s[0]).sum()) if len(s) else 0


def polar_factor(x: Float[Tensor, "a k"]) -> Float[Tensor, "a k"]:
    """PQᵀ of x = PΣQᵀ: orthonormal columns, or orthonormal rows where k > a."""
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ vh

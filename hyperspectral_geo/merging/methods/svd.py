"""The weighted sum, cut to a rank."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import taking_part

__all__ = ["require_rank", "svd"]


def svd(joint: Joint, weights: Float[Tensor, " t"], *, rank: int | None = None) -> Delta:
    """ΔW = the nearest matrix of rank ≤ ``rank`` to Σ w_t ΔW_t (Eckart & Young 1936), from the SVD of the core.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        rank: the largest r_t of the modules that take part by default, so that a single module stays as it is.

    Returns:
        Factors U√σ and √σVᵀ of equal size.

    Raises:
        ValueError: for a rank below 1.
    """
    require_rank(rank)
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    u, s, vh = torch.linalg.svd(torch.einsum("t,tab->ab", w, active.cores), full_matrices=False)
    k = min(rank if rank is not None else max(active.ranks), len(s))
    root = s[:k].sqrt()
    return active.factors(u[:, :k] * root, root.unsqueeze(-1) * vh[:k])


def require_rank(rank: int | None, name: str = "rank") -> None:
    """Raise ``ValueError`` unless ``rank`` is None or a whole number ≥ 1."""
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise ValueError(f"{name}: expected a whole number >= 1, got {rank!r}")

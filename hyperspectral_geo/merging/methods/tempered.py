"""Spectral tempering: the sum of the modules with a flatter spectrum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta

__all__ = ["tempered"]


def tempered(joint: Joint, weights: Float[Tensor, " t"], *, power: float = 0.6) -> Delta:
    """ΔW = c · U diag(σᵖ) Vᵀ from Σ w_t ΔW_t = U diag(σ) Vᵀ, with c such that ‖ΔW‖_F = ‖Σ w_t ΔW_t‖_F.

    The directions that many modules share have grown with their number, those of one module have not; a power below
    one gives the latter more of the energy. p = 1 is task arithmetic, p = 0 the isotropic spectrum of Iso-C (Marczak
    et al. 2025, arXiv:2502.04959) in the joint basis, at the sum's norm instead of the mean singular value.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        power: p, from 0 to 1.

    Raises:
        ValueError: for a power outside [0, 1].
    """
    if not 0 <= power <= 1:
        raise ValueError(f"power: expected a number with 0 <= power <= 1, got {power}")
    u, s, vh = torch.linalg.svd(torch.einsum("t,tab->ab", weights, joint.cores), full_matrices=False)
    # what is zero to rounding must not be raised to a direction of its own
    flat = torch.where(s > s[0] * 1e-10, s.clamp_min(torch.finfo(s.dtype).tiny) ** power, 0.0)
    if not bool(s[0] > 0):
        return joint.delta(torch.zeros_like(joint.cores[0]))
    kept = int((flat > 0).sum())
    flat = (flat * (torch.linalg.vector_norm(s) / torch.linalg.vector_norm(flat)))[:kept]
    return joint.factors(u[:, :kept] * flat, vh[:kept])

"""Spectral tempering: the sum of the modules with a flatter spectrum, the flatter the more they crowd each other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import taking_part
from hyperspectral_geo.merging.methods.spectra import numerical_rank

__all__ = ["tempered"]

_TOLERANCE = 1e-6
_SCHATTEN = 1.5  # between the norm that task arithmetic scales by (2) and the one that Iso-C keeps (1)


def tempered(joint: Joint, weights: Float[Tensor, " t"], *, power: float | None = None) -> Delta:
    """ΔW = c · U diag(σᵖ) Vᵀ from Σ w_t ΔW_t = U diag(σ) Vᵀ, with c such that Schatten's 3/2 norm stays as it was.

    The directions that many modules share have grown with their number, those of one module have not; a power below
    one gives the latter more of the energy. p = 1 is task arithmetic, p = 0 the isotropic spectrum of Iso-C (Marczak
    et al. 2025, arXiv:2502.04959) in the joint basis at another norm.

    Which is better depends on the room: low-rank modules that fit beside each other are best summed, modules that
    fill the whole weight are best levelled. By default p = max(0, 1 − q/4) with q = (Σ r_t − max r_t)/min(m, n), the
    ranks of all modules but the largest over the ranks there are; one module alone stays as it is. The rule and
    the norm were chosen on validation data of ``hsgeo bench merge-quality``.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        power: p, from 0 to 1; by default from the ranks.

    Raises:
        ValueError: for a power outside [0, 1].
    """
    if power is not None and not 0 <= power <= 1:
        raise ValueError(f"power: expected a number with 0 <= power <= 1, or None, got {power}")
    if power is None:
        power = _room(joint, weights)
    total = torch.einsum("t,tab->ab", weights, joint.cores)
    if power == 1:
        return joint.delta(total)
    u, s, vh = torch.linalg.svd(total, full_matrices=False)
    # what is zero to rounding must not be raised to a direction of its own
    kept = int((s > s[0] * 1e-10).sum())
    if not bool(s[0] > 0):
        return joint.delta(torch.zeros_like(total))
    relative = s[:kept] / s[0]
    flat = relative**power
    scale = s[0] * torch.linalg.vector_norm(relative, _SCHATTEN) / torch.linalg.vector_norm(flat, _SCHATTEN)
    return joint.factors(u[:, :kept] * (scale * flat), vh[:kept])


def _room(joint: Joint, weights: Tensor) -> float:
    """p by the ranks of the modules that take part; an update that is dense counts as it stands."""
    active, _, _ = taking_part(joint, weights)
    ranks = [_rank(*factors) for factors in active.parts] if active.parts else active.ranks
    crowding = (sum(ranks) - max(ranks, default=0)) / min(joint.shape)
    return max(0.0, 1 - crowding / 4)


def _rank(left: Tensor, right: Tensor) -> int:
    """Rank of left @ right; factors may repeat themselves."""
    a, b = (torch.linalg.qr(factor, mode="r").R for factor in (left, right.mT))
    return numerical_rank(torch.linalg.svdvals(a @ b.mT), _TOLERANCE)

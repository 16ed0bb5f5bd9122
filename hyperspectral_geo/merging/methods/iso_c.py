"""Iso-C: the sum of the modules with one singular value."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import require_share, taking_part
from hyperspectral_geo.merging.methods.spectra import numerical_rank

__all__ = ["iso_c"]


def iso_c(joint: Joint, weights: Float[Tensor, " t"], *, tolerance: float = 1e-6) -> Delta:
    """ΔW = σ̄ U Vᵀ with Σ w_t ΔW_t = U diag(σ) Vᵀ and σ̄ the mean of σ (Marczak et al. 2025, arXiv:2502.04959).

    Taken in the joint basis and over the sum's own rank: on the dense matrix of a LoRA the published form raises the
    directions of the null space, which are rounding, to σ̄ as well (three quarters of the result's energy). LoRA asks
    for a ``scale`` of 3.5 to 4.5. Tensors that are no matrices are averaged.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        tolerance: singular values up to this times the largest count as zero.

    Raises:
        ValueError: for a tolerance outside [0, 1).
    """
    require_share("tolerance", tolerance, zero=True, one=False)
    u, s, vh = torch.linalg.svd(torch.einsum("t,tab->ab", weights, joint.cores), full_matrices=False)
    bound = min(sum(taking_part(joint, weights)[0].ranks), len(s))
    k = min(numerical_rank(s, tolerance), bound)
    if k == 0:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    return joint.factors(u[:, :k] * s[:k].mean(), vh[:k])

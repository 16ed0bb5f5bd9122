"""Iso-CTS: a common subspace, what each module adds to it, and one singular value for all."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import require_share, taking_part
from hyperspectral_geo.merging.methods.spectra import numerical_rank, polar_factor

__all__ = ["iso_cts"]


def iso_cts(
    joint: Joint, weights: Float[Tensor, " t"], *, common_fraction: float = 0.8, tolerance: float = 1e-6
) -> Delta:
    """ΔW = σ̄ polar(Û) polar(V̂)ᵀ: Û and V̂ hold the k leading directions of Σ w_t ΔW_t = UΣVᵀ and the s leading ones of
    each residual (I − U_k U_kᵀ) w_t ΔW_t, σ̄ is the mean of all their singular values (Marczak et al. 2025,
    arXiv:2502.04959).

    Of the r directions of the sum, s = ⌊(1 − common_fraction) r/T⌋ go to each module and k = r − T s stay common. As
    for ``iso_c``, r is the sum's own rank, not min(m, n).

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        common_fraction: share of the directions that stay common; between 0.5 and 0.9 results are alike.
        tolerance: singular values up to this times the largest count as zero.

    Raises:
        ValueError: for a share outside (0, 1] or a tolerance outside [0, 1).
    """
    require_share("common_fraction", common_fraction)
    require_share("tolerance", tolerance, zero=True, one=False)
    active, w, index = taking_part(joint, weights)
    scaled = w[:, None, None] * active.cores
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    u, s, vh = torch.linalg.svd(scaled.sum(0), full_matrices=False)
    r = min(numerical_rank(s, tolerance), sum(active.ranks))
    own = int((1 - common_fraction) * r / len(index) + 1e-9)
    k = r - own * len(index)
    left, values, right = [u[:, :k]], [s[:k]], [vh[:k]]
    for t, core in enumerate(scaled if own else ()):
        residual = core - u[:, :k] @ (u[:, :k].mT @ core)
        a, b, c = torch.linalg.svd(residual, full_matrices=False)
        # what a module has inside the common subspace leaves nothing but rounding, measured by the module itself
        count = min(int((b > tolerance * torch.linalg.matrix_norm(core)).sum()), own, active.ranks[t])
        left.append(a[:, :count])
        values.append(b[:count])
        right.append(c[:count])
    if r == 0:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    mean = torch.cat(values).mean()
    return active.factors(polar_factor(torch.cat(left, 1)) * mean, polar_factor(torch.cat(right, 0).mT).mT)

"""TSV-M: the modules' singular vectors, made orthogonal to each other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import require_share, taking_part
from hyperspectral_geo.merging.methods.spectra import module_svd, numerical_rank, polar_factor

__all__ = ["tsv"]


def tsv(joint: Joint, weights: Float[Tensor, " t"], *, tolerance: float = 1e-6) -> Delta:
    """ΔW = polar(Û) diag(σ̂) polar(V̂)ᵀ with Û = [U_1 … U_T], V̂ = [V_1 … V_T] the leading k_t singular vectors of each
    w_t ΔW_t (TSV-Merge, Gargiulo et al. 2025, arXiv:2412.00081).

    The paper takes k = ⌊min(m, n)/T⌋ from each. Here a module gives no more than its own rank: beyond it the singular
    vectors are arbitrary, and the published rule lets them into the polar factors (on rank-16 LoRA the result moves by
    81 % when the input does by 1e-7). All r_t are taken where together they fit into min(m, n). α is 1; tensors that
    are no matrices are averaged.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,); a negative one turns its module's left singular vectors about.
        tolerance: singular values up to this times the module's largest count as zero.

    Raises:
        ValueError: for a tolerance outside [0, 1).
    """
    require_share("tolerance", tolerance, zero=True, one=False)
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    side = min(joint.shape)
    parts = [module_svd(active, t) for t in range(len(index))]
    counts = [numerical_rank(s, tolerance) for _, s, _ in parts]
    if sum(counts) > side:
        counts = [min(k, max(side // len(counts), 1)) for k in counts]
    u = torch.cat([u[:, :k] for (u, _, _), k in zip(parts, counts, strict=True)], 1)
    s = torch.cat([v * s[:k] for (_, s, _), k, v in zip(parts, counts, w, strict=True)])
    vh = torch.cat([vh[:k] for (_, _, vh), k in zip(parts, counts, strict=True)], 0)
    return active.factors(polar_factor(u) * s, polar_factor(vh.mT).mT)

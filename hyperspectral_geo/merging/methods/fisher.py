"""Fisher merging: each entry from the modules to which it matters."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Dense
from hyperspectral_geo.merging.methods.per_module import PerModule, statistics_of

__all__ = ["fisher"]


def fisher(joint: Joint, weights: Float[Tensor, " t"], *, fishers: PerModule, floor: float = 1e-6) -> Dense:
    """ΔW_ij = Σ (F_t,ij + ρ) w_t ΔW_t,ij / Σ (F_t,ij + ρ) with F_t the diagonal of module t's Fisher information
    (Matena & Raffel 2022, arXiv:2111.09832).

    The floor ρ gives entries that matter to no module their mean. A module that fits its data to certainty has tiny
    gradients, and so a Fisher of small norm, and is then hardly heard: rescale the ``fishers`` by their norms if all
    are to be heard alike. A module that leaves the weight alone takes part with ΔW_t = 0.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too; a module of weight 0 is left out.
        fishers: by weight name (T, m, n), or one mapping with (m, n) a module, from ``diagonal_fisher``.
        floor: ρ over the mean of all F_t of this weight.

    Raises:
        ValueError: for a weight without Fisher information, wrong shapes, negative entries or a floor that is not
            positive.
    """
    if not 0 < floor < float("inf"):
        raise ValueError(f"floor: expected a positive number, got {floor}; 1e-9 is as good as none")
    shape = (len(joint.ranks), *joint.shape)
    f = statistics_of("fishers", fishers, joint.name, shape, joint.cores.dtype, "merging.diagonal_fisher")
    if bool((f < 0).any()):
        raise ValueError(f"fishers: {joint.name}: expected squares of gradients, >= 0, got {float(f.min()):g}")
    used = [t for t in range(len(joint.ranks)) if bool(weights[t] != 0)]
    top, bottom = torch.zeros(joint.shape, dtype=f.dtype), torch.zeros(joint.shape, dtype=f.dtype)
    if not used:
        return Dense(top)
    rho = floor * f[used].mean().clamp_min(torch.finfo(f.dtype).tiny)
    for t in used:
        top += (f[t] + rho) * weights[t] * joint.dense(joint.cores[t])
        bottom += f[t] + rho
    return Dense(top / bottom)

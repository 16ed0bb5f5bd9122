"""RegMean: the update that gives each module's inputs the outputs they had."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import require_share
from hyperspectral_geo.merging.methods.per_module import PerModule, statistics_of

__all__ = ["regmean"]


def regmean(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    grams: PerModule,
    reduction: float = 0.9,
    ridge: float = 1e-6,
) -> Delta:
    """ΔW = (Σ w_t ΔW_t G_t + ρ mean(w_t ΔW_t)) (Σ G_t + ρ I)⁻¹, the least squares fit of one linear layer to all
    modules on their own inputs, with G_t = X_tᵀX_t (RegMean, Jin et al. 2023, arXiv:2212.09849).

    Off-diagonal entries of G_t are first multiplied by ``reduction``. A module that leaves the weight alone takes part
    with ΔW_t = 0: its inputs want the base's outputs.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too; a module is fitted to w_t times its update, one of weight 0 is left out.
        grams: by weight name (T, n, n), or one mapping with (n, n) a module, from ``activation_grams``; (T, n) or (n,)
            where they are diagonal, as an embedding's.
        reduction: the paper's α, in [0, 1].
        ridge: ρ over the mean of the diagonal of Σ G_t; where no input points, the modules' mean is taken.

    Raises:
        ValueError: for a weight without Gram matrices, wrong shapes, or options out of range.
    """
    require_share("reduction", reduction, zero=True)
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge: expected a positive number, got {ridge}; 1e-9 is as good as none")
    g = _grams_of(joint, grams)
    used = weights != 0
    if not bool(used.any()):
        return joint.delta(torch.zeros_like(joint.cores[0]))
    g, scaled = g[used], weights[used, None, None] * joint.cores[used]
    rows = scaled if joint.right is None else scaled @ joint.right.mT
    diagonals = g if g.ndim == 2 else g.diagonal(dim1=-2, dim2=-1)
    rho = ridge * diagonals.sum(0).mean().clamp_min(torch.finfo(g.dtype).tiny)
    if g.ndim == 2:
        fitted = (rows * g[:, None]).sum(0) + rho * rows.mean(0)
        return joint.rows(fitted / (g.sum(0) + rho))
    g = reduction * g + (1 - reduction) * torch.diag_embed(diagonals)
    total = g.sum(0)
    total.diagonal().add_(rho)
    fitted = (rows @ g).sum(0) + rho * rows.mean(0)
    return joint.rows(torch.linalg.solve(total, fitted, left=False))


def _grams_of(joint: Joint, grams: PerModule) -> Tensor:
    """(T, n, n), or (T, n) of diagonals."""
    count, n = len(joint.ranks), joint.shape[1]
    some = grams.get(joint.name) if isinstance(grams, Mapping) else grams[0].get(joint.name) if grams else None
    diagonal = some is not None and some.ndim == (2 if isinstance(grams, Mapping) else 1)
    shape = (count, n) if diagonal else (count, n, n)
    return statistics_of("grams", grams, joint.name, shape, joint.cores.dtype, "merging.activation_grams")

"""WUDI in closed form: the update that disturbs each module least on its own directions."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import require_choice, taking_part

__all__ = ["wudi"]


def wudi(
    joint: Joint, weights: Float[Tensor, " t"], *, ridge: float = 1e-3, anchor: Literal["sum", "zero"] = "sum"
) -> Delta:
    """The M that minimises Σ ‖(M − w_t ΔW_t) ΔW_tᵀ‖²/‖ΔW_t‖² + ρ ‖M − M₀‖² (Cheng et al. 2025, arXiv:2503.08099).

    The rows of ΔW_t stand for the inputs that its training has seen. The published method takes 300 steps of Adam from
    M₀ = Σ w_t ΔW_t; the objective is least squares, and its minimum
    M = (Σ w_t ΔW_t G_t + ρ M₀)(Σ G_t + ρ I)⁻¹ with G_t = ΔW_tᵀΔW_t/‖ΔW_t‖² is reached here at once.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        ridge: ρ over the largest eigenvalue of Σ G_t. Directions that hardly any module uses stay near M₀.
        anchor: M₀, "sum" Σ w_t ΔW_t, where the published steps start, or "zero".

    Raises:
        ValueError: for a ridge that is not positive, or another anchor.
    """
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge: expected a positive number, got {ridge}; 1e-9 is as good as none")
    require_choice("anchor", anchor, ("sum", "zero"))
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    scaled = w[:, None, None] * active.cores
    units = active.cores / torch.linalg.matrix_norm(active.cores, keepdim=True)
    grams = units.mT @ units
    total = grams.sum(0)
    rho = ridge * torch.linalg.matrix_norm(total, 2)
    right_side = (scaled @ grams).sum(0)
    if anchor == "sum":
        right_side = right_side + rho * scaled.sum(0)
    total.diagonal().add_(rho)
    return active.delta(torch.linalg.solve(total, right_side, left=False))

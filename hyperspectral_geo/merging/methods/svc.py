"""SVC: the sum of the modules with the singular values that shared directions have inflated taken back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import taking_part

__all__ = ["svc"]


def svc(joint: Joint, weights: Float[Tensor, " t"], *, alpha: float = 0.1) -> Delta:
    """ΔW = U diag(γ σ) Vᵀ with Σ w_t ΔW_t = U diag(σ) Vᵀ and γ_i = T / Σ_t max(α, s_it), where s_it = ⟨σ_i v_i, a_it⟩ /
    ‖a_it‖² says how often the sum holds module t's response a_it = w_t ΔW_tᵀ u_i (Singular Value Calibration, Li et al.
    2026, arXiv:2602.05536, on task arithmetic).

    Directions that several modules share come out once, not several times (γ < 1); directions of one module alone, to
    which the others respond with next to nothing, may be raised, by no more than 1/α. A module without any response has
    s = 0. A factor λ on the sum before calibration is the same as α/λ in place of α.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        alpha: the least that a module counts in γ, > 0.

    Raises:
        ValueError: for an alpha that is not positive.
    """
    if not 0 < alpha < float("inf"):
        raise ValueError(f"alpha: expected a positive number, got {alpha}; the authors take 0.1")
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    scaled = w[:, None, None] * active.cores
    u, s, vh = torch.linalg.svd(scaled.sum(0), full_matrices=False)
    responses = u.mT @ scaled
    inner = torch.einsum("tkb,kb->tk", responses, s.unsqueeze(-1) * vh)
    size = responses.square().sum(-1)
    # what is left of a response by rounding alone is none
    eps = torch.finfo(s.dtype).eps * torch.linalg.matrix_norm(scaled).square().unsqueeze(-1)
    share = torch.where(size > eps, inner / torch.where(size > eps, size, 1), 0)
    gamma = len(index) / share.clamp_min(alpha).sum(0)
    return active.factors(u * (gamma * s), vh)

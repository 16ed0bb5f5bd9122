"""Model Stock: the mean of the modules, as near to the base as their angles say."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.participants import taking_part

__all__ = ["model_stock"]


def model_stock(joint: Joint, weights: Float[Tensor, " t"]) -> Delta:
    """ΔW = τ · mean(w_t ΔW_t) with τ = T cos θ / (1 + (T − 1) cos θ), cos θ the mean cosine between pairs of modules
    (Jang et al. 2024, arXiv:2403.19522).

    The paper's τ is the foot of the perpendicular from the base onto the plane through the fine-tuned weights, for
    modules that learned one task from several seeds. Modules at right angles (cos θ = 0) therefore cancel to zero, and
    a mean cosine below zero, where the formula changes sign, is taken as zero. One module alone stays as it is.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,); a negative one turns its module about.
    """
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    count = len(index)
    scaled = w[:, None, None] * active.cores
    if count == 1:
        return active.delta(scaled[0])
    units = scaled.flatten(1) / torch.linalg.vector_norm(scaled.flatten(1), dim=1, keepdim=True)
    cosines = units @ units.mT
    cosine = ((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1))).clamp(0, 1)
    share = count * cosine / (1 + (count - 1) * cosine)
    return active.delta(share * scaled.mean(0), notes={"mean_cosine": float(cosine)})

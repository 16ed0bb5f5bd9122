"""The weighted sum with all factors side by side."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.linear import linear
from hyperspectral_geo.merging.methods.participants import taking_part

__all__ = ["cat"]


def cat(joint: Joint, weights: Float[Tensor, " t"]) -> Delta:
    """ΔW = Σ w_t ΔW_t with left = [w_1 B_1 … w_T B_T] and right = [A_1; …; A_T]: exact, of Σ r_t factors.

    The same matrix as ``linear``; the factors stay one block a module, as when adapters are concatenated (peft's
    "cat"), so that a module can still be taken out again. Modules of weight 0 have no block. Dense updates are summed.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
    """
    active, w, index = taking_part(joint, weights)
    if not joint.parts or not index:
        return linear(joint, weights)
    left = torch.cat([p * v for (p, _), v in zip(active.parts, w, strict=True)], 1)
    return active.factors(left, torch.cat([q for _, q in active.parts], 0))

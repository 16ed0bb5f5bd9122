"""Task arithmetic: the weighted sum of the modules."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta

__all__ = ["linear"]


def linear(joint: Joint, weights: Float[Tensor, " t"]) -> Delta:
    """ΔW = Σ w_t ΔW_t, negative weights too (task arithmetic, Ilharco et al. 2023, arXiv:2212.04089).

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,).

    Returns:
        The sum as factors of rank at most Σ r_t, or dense where an update is. peft's "linear" adds A and B apart and so
        merges other matrices than these.
    """
    return joint.delta(torch.einsum("t,tab->ab", weights, joint.cores))

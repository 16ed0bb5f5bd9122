"""DELLA: drop entries at random, small ones more often."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.coordinates import SPACES
from hyperspectral_geo.merging.methods.dare import COMBINES, Combine, dropped
from hyperspectral_geo.merging.methods.participants import require_choice, require_share

__all__ = ["della"]


def della(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    density: float = 0.3,
    window: float = 0.2,
    combine: Combine = "elect",
    space: Literal["raw", "core"] = "raw",
    seed: int = 0,
) -> Delta:
    """DELLA-Merging (Deep et al. 2024, arXiv:2406.11617): drop entries with a probability that falls with the rank of
    their magnitude in their row, divide the others by their chance to stay, and merge them as TIES does.

    In a row of n entries the one of rank i by magnitude, 0 the largest, is dropped with p_i = p − ε/2 + ε i/(n − 1):
    p = 1 − density on average, over a window of width ε (MAGPRUNE; the paper steps by ε/n).

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        density: 1 − p, the share that is kept on average.
        window: ε, how far apart the probabilities of the smallest and the largest entry are.
        combine: "elect" the mean of the w_t x_t that have the sum's sign, as published, or "sum".
        space: "raw" the entries of ΔW_t, which makes a dense result; "core" those of its coordinates between the
            leading singular vectors of all modules side by side, which keeps it low-rank.
        seed: of the masks, see ``dare``.

    Raises:
        ValueError: for a density outside (0, 1], a window that reaches beyond probabilities 0 and 1, or another combine
            or space.
    """
    require_share("density", density)
    require_choice("combine", combine, COMBINES)
    require_choice("space", space, SPACES)
    low = 1 - density - window / 2
    if not (window >= 0 and low >= -1e-12 and low + window < 1):
        raise ValueError(
            f"window: expected 0 <= window <= 2·min(density, 1 − density) so that all probabilities lie in [0, 1), "
            f"got {window} at density {density}"
        )

    def drop(x: Tensor, generator: torch.Generator) -> Tensor:
        order = x.abs().argsort(dim=1, descending=True, stable=True)
        steps = torch.arange(x.shape[1], dtype=x.dtype) * (window / max(x.shape[1] - 1, 1))
        p = torch.empty_like(x).scatter_(1, order, (low + steps).clamp_min(0).expand_as(x))
        kept = torch.rand(x.shape, generator=generator, dtype=torch.float32) >= p
        return torch.where(kept, x / (1 - p), 0)

    return dropped(joint, weights, space, combine, seed, drop)

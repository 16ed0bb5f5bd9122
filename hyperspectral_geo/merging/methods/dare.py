"""DARE: drop entries at random and rescale the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.coordinates import SPACES, Space, coordinates
from hyperspectral_geo.merging.methods.participants import require_choice, require_share, taking_part
from hyperspectral_geo.merging.methods.ties import agreeing_mean

__all__ = ["dare", "dropped", "kept_entries", "layer_generator"]

Combine = Literal["sum", "elect"]
COMBINES = ("sum", "elect")


def dare(
    joint: Joint,
    weights: Float[Tensor, " t"],
    *,
    density: float = 0.2,
    combine: Combine = "sum",
    space: Literal["raw", "core"] = "raw",
    seed: int = 0,
) -> Delta:
    """DARE (Yu et al. 2024, arXiv:2311.03099): keep each entry of ΔW_t with probability ``density``, divide it by that,
    and merge what is left.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), negative ones too.
        density: 1 − p, the share that is kept.
        combine: "sum" Σ w_t x_t, or "elect" as in TIES: the mean of the w_t x_t that have the sum's sign.
        space: "raw" the entries of ΔW_t, which makes a dense result; "core" those of its coordinates between the
            leading singular vectors of all modules side by side, which keeps it low-rank.
        seed: of the masks. Each weight and module has its own generator, so that the same entries are dropped in
            whatever order the weights come.

    Raises:
        ValueError: for a density outside (0, 1], or another combine or space.
    """
    require_share("density", density)
    require_choice("combine", combine, COMBINES)
    require_choice("space", space, SPACES)

    return dropped(joint, weights, space, combine, seed, kept_entries(density))


def kept_entries(density: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """What keeps each entry with probability ``density`` and divides it by that, for ``dropped``."""

    def drop(x: Tensor, generator: torch.Generator) -> Tensor:
        kept = torch.rand(x.shape, generator=generator, dtype=torch.float32) < density
        return torch.where(kept, x, 0) / density

    return drop


def dropped(
    joint: Joint,
    weights: Tensor,
    space: Space,
    combine: Combine,
    seed: int,
    drop: Callable[[Tensor, torch.Generator], Tensor],
) -> Delta:
    """Merge what ``drop(rows, generator)`` leaves of each module."""
    active, w, index = taking_part(joint, weights)
    if not index:
        return joint.delta(torch.zeros_like(joint.cores[0]))
    own = coordinates(active, space)
    generators = [layer_generator(seed, joint.name, t) for t in index]
    shares = w.tolist()

    def merged(rows: slice) -> Tensor:
        parts = [drop(own.block(t, rows), generators[t]) * shares[t] for t in range(len(index))]
        return agreeing_mean(torch.stack(parts)) if combine == "elect" else torch.stack(parts).sum(0)

    return own.merge(merged)


def layer_generator(seed: int, name: str, t: int) -> torch.Generator:
    """Random numbers of module t at one weight, whatever has been drawn for others."""
    digest = hashlib.blake2b(f"{seed}/{name}/{t}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

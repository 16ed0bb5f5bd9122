"""Low-rank factors of dense changes, and what they lose."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch

from hyperspectral_geo.merging.delta import Delta, LowRank, balanced
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.spectral import noise_rank

__all__ = ["cut", "extract_lora"]

Rank = int | Literal["noise_edge"]


def extract_lora(module: Module, *, rank: Rank = "noise_edge") -> tuple[Module, dict[str, float]]:
    """The module with every change as two factors, the nearest of its rank, and the relative error of each.

    Args:
        module: any module, such as the difference of two checkpoints.
        rank: of every change, at most; "noise_edge" takes for each weight as many singular values as rise above what
            noise of its shape would have (`hyperspectral_geo.spectral.noise_rank`), at least 1.

    Returns:
        The module, and by weight ‖ΔW_r − ΔW‖_F/‖ΔW‖_F, 0 where ΔW is zero.

    Raises:
        ValueError: for a rank below 1.

    References:
        C. Eckart, G. Young, *The approximation of one matrix by another of lower rank*, Psychometrika 1 (1936).

    Example:
        >>> from hyperspectral_geo.merging import Dense, Layout
        >>> w = torch.diag(torch.tensor([4.0, 3.0, 0.0]))
        >>> whole = Module("tuned", {"w": Dense(w)}, {"w": Layout("linear", (3, 3))})
        >>> lora, errors = extract_lora(whole, rank=1)
        >>> lora.deltas["w"].rank, round(errors["w"], 3)
        (1, 0.6)
    """
    if not module.magnitudes and not module.replaced:
        found = {name: cut(delta, rank) for name, delta in module.deltas.items()}
        errors = {name: error for name, (_, error) in found.items()}
        return replace(module, deltas={name: low for name, (low, _) in found.items()}), errors
    raise ValueError(
        f"{module.name}: expected changes, got full values whose change is known only beside the base model; use "
        "module.against(base) first"
    )


def cut(delta: Delta, rank: Rank) -> tuple[LowRank, float]:
    """One change as factors of at most ``rank`` (at least 1), and the relative error."""
    if rank != "noise_edge" and (isinstance(rank, str | bool) or rank < 1):
        raise ValueError(f"rank: expected a whole number of at least 1 or 'noise_edge', got {rank!r}")
    u, s, vh = delta.svd()
    size = float(torch.linalg.vector_norm(s.double()))
    keep = rank if isinstance(rank, int) else _noise_rank(s, delta.shape)
    keep = max(1, min(keep, len(s)))
    lost = float(torch.linalg.vector_norm(s[keep:].double()))
    return balanced(u[:, :keep], s[:keep], vh[:keep], notes=delta.notes), lost / size if size > 0 else 0.0


def _noise_rank(s: torch.Tensor, shape: tuple[int, int]) -> int:
    # A change of low rank comes without its zeros, which the median needs.
    whole = torch.cat([s, s.new_zeros(min(shape) - len(s))])
    # Where most of them are rounding, the median is too: what is beyond the numerical rank is never signal.
    numerical = int((s > max(shape) * torch.finfo(s.dtype).eps * s[:1]).sum())
    return min(int(noise_rank(whole, shape=shape)), numerical)

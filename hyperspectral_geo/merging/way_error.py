"""How much of an update is lost on its way into the joint basis and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hyperspectral_geo.merging.delta import Delta, LowRank

__all__ = ["PROBES", "bound_error", "dense_error", "measured_error"]

PROBES = 3
"""Random combinations of columns from which a norm is estimated."""


def bound_error(parts: list[tuple[Tensor, Tensor]], left: Tensor, right: Tensor) -> float:
    """Largest ‖left p q rightᵀ − ΔW‖/‖ΔW‖ from what each side loses: ‖E_B A‖ ≤ ‖E_B‖‖A‖, and likewise."""
    worst = 0.0
    for (p, q), on_left, on_right in zip(parts, left, right, strict=True):
        size = torch.linalg.matrix_norm(p @ q)
        bound = on_left * torch.linalg.matrix_norm(q) + on_right * torch.linalg.matrix_norm(p)
        worst = max(worst, _ratio(bound, size))
    return worst


def measured_error(deltas: Sequence[Delta | None], cores: Tensor, left: Tensor | None, right: Tensor | None) -> float:
    """Largest ‖left core rightᵀ − ΔW‖/‖ΔW‖ in float64, both sides applied to random signs: E‖Ex‖² = ‖E‖²."""
    wide_left, wide_right = (None if x is None else x.double() for x in (left, right))
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for delta, core in zip(deltas, cores.double(), strict=True):
        if not isinstance(delta, LowRank):
            continue
        signs = torch.randint(2, (delta.shape[1], PROBES), generator=generator).double() * 2 - 1
        inside = core @ (signs if wide_right is None else wide_right.mT @ signs)
        way = inside if wide_left is None else wide_left @ inside
        lost = way - delta.left.double() @ (delta.right.double() @ signs)
        worst = max(worst, _ratio(torch.linalg.matrix_norm(lost) / PROBES**0.5, torch.linalg.matrix_norm(core)))
    return worst


def dense_error(delta: Delta, core: Tensor) -> float:
    """‖core − ΔW‖/‖ΔW‖ where both sides are the identity."""
    if not all(bool(end.isfinite()) for end in torch.aminmax(core)):
        return math.inf
    if isinstance(delta, LowRank):
        return measured_error([delta], core.unsqueeze(0), None, None)
    if torch.promote_types(delta.dtype, core.dtype) == core.dtype:
        return 0.0
    return _ratio(torch.linalg.matrix_norm(core - delta.matrix), torch.linalg.matrix_norm(delta.matrix))


def _ratio(lost: Tensor, size: Tensor) -> float:
    """lost/size, 0 for an update of zeros and inf where either is not finite: NaN would pass for no error at all."""
    if not bool(size.isfinite() & lost.isfinite()):
        return math.inf
    return float(lost / size) if bool(size > 0) else 0.0

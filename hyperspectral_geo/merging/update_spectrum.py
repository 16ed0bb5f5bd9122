"""What the singular values of one update say: how many directions there are, and how many of them count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.spectral.noise_edge import noise_edge
from hyperspectral_geo.spectral.truncate import effective_rank, stable_rank

__all__ = ["UpdateSpectrum", "update_spectrum"]


@dataclass(frozen=True)
class UpdateSpectrum:
    """The spectrum of one update of shape (m, n).

    Attributes:
        shape: (m, n).
        singular_values: those that are not zero to rounding, descending.
        rank: their number.
        effective_rank: exp of their entropy (Roy & Vetterli 2007); 0 for a zero update.
        stable_rank: ‖ΔW‖_F² / ‖ΔW‖₂²; 0 for a zero update.
        noise_edge: the value above which a direction is signal, see `hyperspectral_geo.spectral.noise_edge`; None for
            an update of at most half the full rank, whose noise, if there is any, the median does not show.
        noise_rank: values above the edge, or the rank where there is no edge.
    """

    shape: tuple[int, int]
    singular_values: tuple[float, ...]
    rank: int
    effective_rank: float
    stable_rank: float
    noise_edge: float | None
    noise_rank: int


def update_spectrum(
    singular_values: Float[Tensor, " p"], shape: tuple[int, int], *, unit: float | None = None
) -> UpdateSpectrum:
    """The spectrum of an update from its singular values, zeros left out or not.

    Args:
        singular_values: descending, finite, of a matrix or of its core.
        shape: (m, n) of the matrix.
        unit: the rounding unit of the numbers the update came from; by default that of ``singular_values``.

    Example:
        >>> update_spectrum(torch.tensor([2.0, 2.0, 0.0]), (5, 4)).effective_rank
        2.0
    """
    s = singular_values.double()
    unit = torch.finfo(singular_values.dtype).eps if unit is None else unit
    s = s[s > s[:1] * unit * max(shape)] if len(s) else s
    if not len(s):
        return UpdateSpectrum(shape, (), 0, 0.0, 0.0, None, 0)
    padded = torch.nn.functional.pad(s, (0, max(min(shape) - len(s), 0)))
    edge = float(noise_edge(padded, shape=shape))
    return UpdateSpectrum(
        shape=shape,
        singular_values=tuple(s.tolist()),
        rank=len(s),
        effective_rank=float(effective_rank(s)),
        stable_rank=float(stable_rank(s)),
        noise_edge=edge or None,
        noise_rank=int((s > edge).sum()),
    )

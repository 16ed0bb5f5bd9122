"""Latents of several modalities merged in the frequency domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["merge_frequencies", "merge_latents"]

Rule = Literal["sum", "mean", "product", "harmonic"]
RULES = ("sum", "mean", "product", "harmonic")


def merge_latents(
    latents: Sequence[Float[Tensor, "*shape n"]], *, rule: Rule = "harmonic"
) -> Float[Tensor, "*shape n"]:
    """``merge_frequencies`` of the latents' discrete Fourier transforms along the last dimension, and back.

    Raises:
        ValueError: for no latents, several shapes, or another rule.
    """
    _require(latents, rule)
    spectra = [torch.fft.rfft(x, norm="ortho") for x in latents]
    return torch.fft.irfft(merge_frequencies(spectra, rule=rule), n=latents[0].shape[-1], norm="ortho")


def merge_frequencies(
    spectra: Sequence[Complex[Tensor, "*shape k"]], *, rule: Rule = "harmonic"
) -> Complex[Tensor, "*shape k"]:
    """One spectrum from M of them (MM-Lego, Hemker, Simidjievski & Jamnik 2025, arXiv:2405.19950).

    "sum" Σ z; "mean" Σ z/M; "product" Π z. "harmonic": magnitude M / Σ 1/|z|, the harmonic mean, which no single loud
    modality can raise, with the phase of the sum of the unit phases z/|z|; where these cancel, the phase of Σ z, and 0
    where that is 0 as well.

    All but "sum" and "product" keep equal inputs: merging z with itself gives z. The published harmonic mean does not:
    as it is written equal spectra come out at 0.32 of their size, and the scale of its output falls with the number of
    modalities.

    Raises:
        ValueError: for no spectra, several shapes, or another rule.
    """
    _require(spectra, rule)
    z = torch.stack(list(spectra))
    if rule == "sum":
        return z.sum(0)
    if rule == "mean":
        return z.mean(0)
    if rule == "product":
        return z.prod(0)
    size = z.abs()
    present = (size > 0).all(0)
    magnitude = torch.where(present, len(z) / torch.where(size > 0, size, 1).reciprocal().sum(0), 0)
    direction = torch.where(size > 0, z / torch.where(size > 0, size, 1), 0).sum(0)
    total = z.sum(0)
    total = torch.where(total.abs() < 1e-6 * size.sum(0), 0, total)
    direction = torch.where(direction.abs() < 1e-6 * len(z), total, direction)
    return magnitude * torch.sgn(direction)


def _require(items: Sequence[Tensor], rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"rule: expected one of {', '.join(map(repr, RULES))}, got {rule!r}")
    if len(items) == 0:
        raise ValueError("latents: expected at least one, got none")
    shapes = {tuple(x.shape) for x in items}
    if len(shapes) > 1:
        raise ValueError(f"latents: expected one shape, got {sorted(shapes)}; bring the encoders to one latent size")

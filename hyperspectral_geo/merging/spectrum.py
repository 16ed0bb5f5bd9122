"""A merged module as U diag(σ) Vᵀ a weight, and the few numbers in it that calibration moves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.module import Module

__all__ = ["Free", "Spectrum", "spectra"]

Free: TypeAlias = Literal["eigenvalues", "core", "scale"]
"""What may move: each σ_i, the whole k×k core between U and V, or one factor a weight."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One weight's merged update, U diag(σ) Vᵀ, and a parameter p that moves it; p = 0 is the update itself.

    eigenvalues: U diag(σ·(1 + p)) Vᵀ, p (k,). core: U (diag(σ) + σ̄·p) Vᵀ, p (k, k), σ̄ the root mean square of σ.
    scale: (1 + p) U diag(σ) Vᵀ, p (). So in all of them a step of size ε changes the update by about ε of itself.

    Attributes:
        u: (m, k) orthonormal. s: σ (k,). vh: Vᵀ (k, n).
        free: which of the three.
    """

    u: Float[Tensor, "m k"]
    s: Float[Tensor, " k"]
    vh: Float[Tensor, "k n"]
    free: Free

    def origin(self) -> Tensor:
        """The parameter that leaves the update as it is: zeros."""
        k = len(self.s)
        return self.s.new_zeros({"eigenvalues": (k,), "core": (k, k), "scale": ()}[self.free])

    def to(self, dtype: torch.dtype) -> Spectrum:
        """The same in another kind of number."""
        return replace(self, u=self.u.to(dtype), s=self.s.to(dtype), vh=self.vh.to(dtype))

    def left(self, p: Tensor) -> Float[Tensor, "m k"]:
        """U times the moved core: the update is ``left(p) @ vh``; differentiable in p."""
        if self.free == "core":
            return self.u @ (torch.diag(self.s) + self.s.square().mean().sqrt() * p)
        return self.u * (self.s * (1 + p))


def spectra(merged: Module, *, free: Free, rank: int | None = None) -> dict[str, Spectrum]:
    """The spectrum of each of a module's updates, without directions, or whole updates, that are zero to rounding.

    Args:
        rank: keep at most this many directions; what a dense update has beyond is dropped, so leave it None unless
            memory forbids.

    Raises:
        ValueError: for an unknown ``free`` or a module that changes no matrix.
    """
    if free not in get_args(Free):
        raise ValueError(f"free: expected one of {', '.join(get_args(Free))}, got {free!r}")
    found = {}
    for name, delta in merged.deltas.items():
        u, s, vh = delta.to(torch.promote_types(delta.dtype, torch.float32)).svd()
        kept = int((s > s[:1] * torch.finfo(s.dtype).eps * max(delta.shape)).sum())
        if kept == 0:
            continue  # no direction of its own to move along
        kept = kept if rank is None else min(kept, rank)
        found[name] = Spectrum(u[:, :kept], s[:kept], vh[:kept], free)
    if not found:
        raise ValueError(f"{merged.name}: expected a module that changes at least one matrix, got none")
    return found

"""The rows of an inspection: each update's size and spectrum, and what is odd among them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperspectral_geo.merging.checkpoint import Checkpoint
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.module import Module
from hyperspectral_geo.merging.tensor_scan import Finding
from hyperspectral_geo.merging.update_spectrum import update_spectrum

__all__ = ["UpdateRow", "update_findings", "update_rows", "weight_rows"]

_OUTLIER = 100.0


@dataclass(frozen=True)
class UpdateRow:
    """One matrix.

    Attributes:
        name: of the weight.
        shape: (out, in).
        norm: ‖ΔW‖_F.
        relative: ‖ΔW‖_F / ‖W₀‖_F, None without a base.
        factors: number of factors it is stored with, None where it is dense.
        rank, effective_rank, noise_edge, noise_rank, singular_values: see ``UpdateSpectrum``; None where the matrix is
            larger than was asked to be decomposed.
    """

    name: str
    shape: tuple[int, int]
    norm: float
    relative: float | None
    factors: int | None
    rank: int | None = None
    effective_rank: float | None = None
    noise_edge: float | None = None
    noise_rank: int | None = None
    singular_values: tuple[float, ...] = ()


def update_rows(
    module: Module,
    base: Callable[[str], Tensor | None] | None,
    *,
    largest: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[UpdateRow]:
    """A row an update; ``base`` gives the weight of a name as a matrix, or None."""
    rows = []
    for name, delta in module.deltas.items():
        weight = None if base is None else base(name)
        size = None if weight is None else float(torch.linalg.vector_norm(weight, dtype=torch.float64))
        rows.append(_row(name, delta, size, largest))
        if progress is not None:
            progress(len(rows), len(module.deltas))
    return rows


def weight_rows(
    checkpoint: Checkpoint, *, largest: int, progress: Callable[[int, int], None] | None = None
) -> list[UpdateRow]:
    """A row a matrix of a checkpoint, kernels flattened to (out, rest)."""
    names = [n for n in checkpoint if len(checkpoint.spec(n).shape) >= 2 and checkpoint.spec(n).dtype.is_floating_point]
    rows = []
    for name in names:
        x = checkpoint[name]
        kind = torch.promote_types(x.dtype, torch.float32)
        rows.append(_row(name, Dense(x.flatten(1).to(kind)), None, largest))
        if progress is not None:
            progress(len(rows), len(names))
    return rows


def update_findings(rows: Sequence[UpdateRow], *, adapter: bool) -> Iterator[Finding]:
    """What is odd among updates: dead ones, ones larger than their weight or than all others, unused factors."""
    dead = [r.name for r in rows if r.norm == 0]
    if dead and (adapter or len(dead) == len(rows)):
        which = "all updates" if len(dead) == len(rows) else f"{len(dead)} of {len(rows)} updates"
        remedy = "train it: B is still zero there" if adapter else "check that this is not the base model itself"
        yield Finding("warning", dead[0], f"{which} are zero" if len(dead) > 1 else "the update is zero", remedy)
    elif dead:
        yield Finding("note", dead[0], f"{len(dead)} of {len(rows)} matrices did not change")
    for row in rows:
        if row.relative is not None and row.relative > 1:
            what = f"the update is {row.relative:.3g} times as large as its weight"
            yield Finding("warning", row.name, what, "check the scale (lora_alpha, rslora) and the base model")
    live = [r for r in rows if r.norm > 0]
    if len(live) >= 4:
        middle = statistics.median(r.norm for r in live)
        for row in live:
            if row.norm > _OUTLIER * middle:
                what = f"norm {row.norm:.3g}, {row.norm / middle:.0f} times the median of all updates"
                yield Finding("warning", row.name, what, "look at its training; a merge will follow this one update")
    unused = [r for r in live if r.factors is not None and r.rank is not None and r.rank < min(r.factors, *r.shape)]
    if unused:
        what = f"{len(unused)} of {len(rows)} updates have a lower rank than factors, here {unused[0].rank} of "
        yield Finding("note", unused[0].name, what + f"{unused[0].factors}", "save with rank= to make it smaller")
    large = [r for r in live if r.rank is None]
    if large:
        what = f"{len(large)} matrices are too large to be decomposed here"
        yield Finding("note", large[0].name, what, "raise --largest to see their ranks")


def _row(name: str, delta: Delta, size: float | None, largest: int) -> UpdateRow:
    if isinstance(delta, LowRank):
        norm = float(delta.to(torch.float64).norm())
    else:
        norm = float(torch.linalg.vector_norm(delta.matrix, dtype=torch.float64))
    relative = None if size is None or not size > 0 else norm / size
    factors = delta.rank if isinstance(delta, LowRank) else None
    if factors is None and min(delta.shape) > largest:
        return UpdateRow(name, delta.shape, norm, relative, None)
    values = delta.to(torch.float64).svd()[1] if isinstance(delta, LowRank) else torch.linalg.svdvals(delta.matrix)
    # the factors of an adapter are exact in their own kind; a difference of weights has the rounding of its kind
    unit = torch.finfo(torch.float32).eps if isinstance(delta, LowRank) else torch.finfo(values.dtype).eps
    spectrum = update_spectrum(values, delta.shape, unit=unit)
    return UpdateRow(
        name=name,
        shape=delta.shape,
        norm=norm,
        relative=relative,
        factors=factors,
        rank=spectrum.rank,
        effective_rank=spectrum.effective_rank,
        noise_edge=spectrum.noise_edge,
        noise_rank=spectrum.noise_rank,
        singular_values=spectrum.singular_values,
    )

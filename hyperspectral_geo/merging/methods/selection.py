"""The k-th largest magnitude among more numbers than one wants in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["kept_count", "kth_magnitude", "kth_magnitudes"]

_FEW = 1 << 20
_MARGIN = 0.01


def kept_count(density: float, size: int) -> int:
    """How many of ``size`` entries a density keeps: the nearest whole number, at least one."""
    return min(max(round(density * size), 1), size)


def kth_magnitude(x: Tensor, k: int) -> Tensor:
    """The k-th largest |x|, ()."""
    flat = x.abs().flatten()
    return flat.kthvalue(flat.numel() - k + 1).values


def kth_magnitudes(
    sizes: Sequence[int],
    density: float,
    samples: Sequence[Tensor],
    blocks: Callable[[], Iterable[tuple[int, Tensor]]],
) -> Float[Tensor, " t"]:
    """For each of T long vectors the k-th largest magnitude, k = density·size, exactly, in little memory.

    The sample brackets the k-th largest; a pass counts what lies above the bracket and keeps what lies inside, which
    holds the answer. A bracket that missed is widened and counted again, so that a bad sample costs time only.

    Args:
        sizes: the vectors' lengths; a vector of length 0 gets a threshold of 0.
        density: in (0, 1].
        samples: some entries of each vector, of all its parts alike.
        blocks: called for each pass; yields (t, a part of vector t) in any order, the same numbers each time. The parts
            may be overwritten.
    """
    counts = [kept_count(density, size) if size else 0 for size in sizes]
    found = {t: 0.0 for t, size in enumerate(sizes) if size == 0}
    margin = _MARGIN
    while len(found) < len(sizes):
        missing = [t for t in range(len(sizes)) if t not in found]
        brackets = {t: _bracket(samples[t], 1 - counts[t] / sizes[t], margin, sizes[t]) for t in missing}
        found.update(_count(brackets, counts, blocks()))
        margin *= 4
    return torch.tensor([found[t] for t in range(len(sizes))], dtype=torch.float64)


def _bracket(sample: Tensor, share: float, margin: float, size: int) -> tuple[float, float]:
    """Where ``share`` of the numbers lies below, by a sample, give or take ``margin`` of them."""
    count = sample.numel()
    low, high = int((share - margin) * count), int((share + margin) * count) + 2
    if size <= _FEW or count == 0:
        return 0.0, math.inf
    flat = sample.abs().flatten()
    return (
        float(flat.kthvalue(low).values) if low >= 1 else 0.0,
        float(flat.kthvalue(high).values) if high <= count else math.inf,
    )


def _count(
    brackets: dict[int, tuple[float, float]], counts: Sequence[int], blocks: Iterable[tuple[int, Tensor]]
) -> dict[int, float]:
    """The thresholds that lie in their brackets. In NumPy, whose comparisons are ten times as fast as torch's."""
    above = dict.fromkeys(brackets, 0)
    inside: dict[int, list[np.ndarray]] = {t: [] for t in brackets}
    for t, part in blocks:
        if t not in brackets:
            continue
        low, high = brackets[t]
        sizes = part.abs_().flatten().numpy()
        reached = sizes >= low
        over = sizes > high
        above[t] += int(np.count_nonzero(over))
        inside[t].append(sizes[reached ^ over])
    found = {}
    for t, parts in inside.items():
        near, rest = np.concatenate(parts), counts[t] - above[t]
        if 1 <= rest <= len(near):
            place = len(near) - rest
            found[t] = float(np.partition(near, place)[place])
    return found

"""Cross-fitting: bases from the rows outside a fold, judged on the pairs inside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hyperspectral_geo.fusion.joint_basis import ViewBasis, common_directions, principal_covariances, view_basis
from hyperspectral_geo.fusion.moments import Moments
from hyperspectral_geo.fusion.retrieval import csls, mean_reciprocal_rank

__all__ = ["Fold", "HeldOut", "cross_folds", "held_out", "weighted_score"]

_NEIGHBOURS = 10  # of the correction for hubs
_ENOUGH = 150  # pairs that are judged: of fewer, several partitions are averaged


@dataclass(frozen=True)
class Fold:
    """Principal directions of all rows outside a fold, and the complete rows inside in their coordinates.

    Attributes:
        bases: of the rows outside.
        covariances: between their principal coordinates, by pair of views.
        inside: principal coordinates of each view, (m, r_v).
    """

    bases: tuple[ViewBasis, ...]
    covariances: Mapping[tuple[int, int], Tensor]
    inside: tuple[Float[Tensor, "m _"], ...]

    @classmethod
    def of(cls, outside: Moments, inside: Sequence[Float[Tensor, "m _"]]) -> Fold:
        """A fold from the moments of the rows outside and the features inside."""
        bases = tuple(view_basis(outside, view, among=" outside each fold") for view in range(len(inside)))
        turned = tuple((x.double() - basis.mean) @ basis.directions for x, basis in zip(inside, bases, strict=True))
        return cls(bases, principal_covariances(outside, bases), turned)


@dataclass(frozen=True)
class HeldOut:
    """Joint coordinates of the rows inside a fold, by a basis that has not seen them.

    Attributes:
        coordinates: (m, k) of each view.
        correlations: of the basis, (k,).
    """

    coordinates: tuple[Float[Tensor, "m k"], ...]
    correlations: Float[Tensor, " k"]


def cross_folds(
    views: Sequence[Float[Tensor, "n _"]],
    present: Sequence[Bool[Tensor, " n"] | None],
    complete: Bool[Tensor, " n"],
    *,
    folds: int,
    seed: int,
    most: int = 500,
) -> tuple[Moments, list[Fold]]:
    """Moments of all rows, and the folds of the complete ones; rows that lack a view are outside every fold.

    Moments of all rows are the sum over the folds, those outside a fold are all less those inside: one pass over the
    data serves K folds.

    Args:
        views: lifted features. A lift whose anchors are the rows themselves may be fitted to all of them: the
            directions that only rows inside a fold span have no variance outside it, and are left out.
        present: which rows a view has.
        complete: which rows have all views.
        folds: K, or 0 for none.
        seed: of the shuffle; few rows are shuffled and split several times.
        most: rows of a fold that are kept for judging.
    """
    if not folds:
        return Moments.of(views, present=present), []
    rows = complete.nonzero()[:, 0]
    parts, insides = [], []
    for number in range(max(1, min(4, math.ceil(_ENOUGH / len(rows))))):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed + 7919 * number))
        for part in rows[order].tensor_split(folds):
            shifts = insides[0].shifts if insides else None
            parts.append(part)
            insides.append(Moments.of([view[part] for view in views], shifts=shifts))
    others = ~complete
    masks = [None if mask is None else mask[others] for mask in present]
    rest = Moments.of([view[others] for view in views], present=masks, shifts=insides[0].shifts)
    whole = sum(insides[:folds], rest)
    return whole, [
        Fold.of(whole - inside, [view[part[:most]] for view in views])
        for part, inside in zip(parts, insides, strict=True)
    ]


def held_out(fold: Fold, ridges: Sequence[float], n_components: int | None) -> HeldOut:
    """Join the rows outside, and carry those inside to the joint coordinates."""
    maps, correlations = common_directions(fold.bases, fold.covariances, ridges, n_components, exact=False)
    return HeldOut(tuple(x @ part for x, part in zip(fold.inside, maps, strict=True)), correlations)


def weighted_score(found: HeldOut, weights: Float[Tensor, " k"]) -> float:
    """Mean reciprocal rank among the rows inside, both ways and over all pairs of views, hubs corrected.

    Args:
        found: coordinates.
        weights: of the directions in each view's unit vectors.
    """
    units = [torch.nn.functional.normalize(part * weights, dim=1) for part in found.coordinates]
    scores = []
    for x, y in combinations(units, 2):
        similarity = x @ y.T
        scores.append(mean_reciprocal_rank(csls(similarity, k=min(_NEIGHBOURS, len(x)))))
    return sum(scores) / len(scores)

"""Lift, ridge, power and eigenvalues of a joint space, chosen by how held-out pairs find each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.cross_fit import Fold, HeldOut, cross_folds, held_out, weighted_score
from hyperspectral_geo.fusion.lifting import KernelLift, Lift, LinearLift
from hyperspectral_geo.fusion.moments import Moments
from hyperspectral_geo.fusion.presets import Preset
from hyperspectral_geo.fusion.spectral_filter import FilterEvidence, SpectralFilter, learn_filter
from hyperspectral_geo.fusion.views import Views

__all__ = ["Candidate", "Choice", "Tried", "choose", "lifted_candidates"]

_PLAIN = 1.0  # the ridge at which independence is tested
_STEP = 10.0  # by which the ridge of one view is moved, once a common one is found


@dataclass(frozen=True)
class Tried:
    """A setting, and its mean reciprocal rank among held-out pairs.

    Attributes:
        gamma: of the kernel, ``None`` for linear.
        unpaired: whether rows that lack a view had a say.
        ridges: one a view.
        power: p of ρ^p.
        score: mean over the folds; NaN where there was nothing to choose.
    """

    gamma: float | None
    unpaired: bool
    ridges: tuple[float, ...]
    power: float
    score: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """Lifted views: their moments, and folds of them.

    Attributes:
        gamma: of the kernel, ``None`` for linear.
        unpaired: whether rows that lack a view are in the moments and in what the lifts were fitted to.
        lifts: one a view.
        moments: of all rows that have a say.
        folds: the first ``partition`` of them partition the complete rows; none where nothing is to be chosen.
        partition: K.
    """

    gamma: float | None
    unpaired: bool
    lifts: tuple[Lift, ...]
    moments: Moments
    folds: Sequence[Fold]
    partition: int


@dataclass(frozen=True, eq=False)
class Choice:
    """The setting that was taken, and what it was taken on.

    Attributes:
        lifts: one a view.
        moments: of all rows, lifted.
        ridges: one a view.
        spectral_filter: weights of directions.
        tried: all settings with their scores.
        evidence: of the learned filter, or ``None`` where nothing was to be learned.
        cross_fitted: by fold, coordinates in bases that have not seen it.
        plain: the same at a ridge that was not chosen, for tests; the same object where none was chosen.
    """

    lifts: tuple[Lift, ...]
    moments: Moments
    ridges: tuple[float, ...]
    spectral_filter: SpectralFilter
    tried: tuple[Tried, ...]
    evidence: FilterEvidence | None
    cross_fitted: tuple[HeldOut, ...]
    plain: tuple[HeldOut, ...]


def lifted_candidates(
    views: Views, gammas: Sequence[float | None], *, unpaired: Sequence[bool], folds: int, seed: int, rank: int
) -> Iterator[Candidate]:
    """One candidate a lift, made when it is asked for.

    Args:
        views: checked.
        gammas: of kernel lifts, ``None`` for the features as they are.
        unpaired: whether rows that lack a view have a say; both ways where that is to be chosen. The folds, which are
            of complete rows, are the same.
        folds: K, or 0 for none.
        seed: of the folds.
        rank: of kernel lifts.
    """
    for everyone, gamma in product(unpaired, gammas):
        some = views if everyone else views.paired()
        lifts = tuple(
            _lift(x if mask is None else x[mask], blocks, gamma, rank)
            for x, mask, blocks in zip(some.rows, some.present, some.blocks, strict=True)
        )
        rows = [lift(x) for lift, x in zip(lifts, some.rows, strict=True)]
        moments, parts = cross_folds(rows, some.present, some.complete, folds=folds, seed=seed)
        yield Candidate(gamma, everyone, lifts, moments, parts, folds)


def choose(
    candidates: Iterable[Candidate],
    preset: Preset,
    *,
    n_components: int | None,
    progress: Callable[[int], None] | None = None,
) -> Choice:
    """Cross-fit every setting, refine the best one's ridges view by view, and learn its eigenvalues.

    Args:
        candidates: lifted views.
        preset: ridges and powers to try, and whether eigenvalues are learned.
        n_components: directions to keep.
        progress: called with how many settings are done.
    """
    tried: list[Tried] = []
    best: Candidate | None = None
    leader: Tried | None = None
    for candidate in candidates:
        for ridge in preset.ridges:
            tried += _scored(candidate, (ridge,) * len(candidate.lifts), preset.powers, n_components)
            if progress is not None:
                progress(len(tried))
        first = max(tried, key=lambda one: one.score)
        if leader is None or first.score > leader.score:
            best, leader = candidate, first
    assert best is not None
    assert leader is not None
    if len(preset.ridges) > 1:
        common = leader.ridges
        for view, factor in product(range(len(common)), (1 / _STEP, _STEP)):
            moved = (*common[:view], common[view] * factor, *common[view + 1 :])
            tried += _scored(best, moved, preset.powers, n_components)
        leader = max(tried, key=lambda one: one.score)
    found = tuple(held_out(fold, leader.ridges, n_components) for fold in best.folds)
    cross_fitted = plain = found[: best.partition]
    if len(preset.ridges) > 1:
        ridges = (_PLAIN,) * len(best.lifts)
        plain = tuple(held_out(fold, ridges, n_components) for fold in best.folds[: best.partition])
    learned, evidence = SpectralFilter.anchor(leader.power), None
    if preset.learned:
        learned, evidence = learn_filter(found, leader.power)
    return Choice(
        lifts=best.lifts,
        moments=best.moments,
        ridges=leader.ridges,
        spectral_filter=learned,
        tried=tuple(tried),
        evidence=evidence,
        cross_fitted=cross_fitted,
        plain=plain,
    )


def _scored(
    candidate: Candidate, ridges: tuple[float, ...], powers: Sequence[float], n_components: int | None
) -> Iterator[Tried]:
    """Scores of a choice of ridges under each power."""
    found = [held_out(fold, ridges, n_components) for fold in candidate.folds]
    for power in powers:
        weights = SpectralFilter.anchor(power)
        scores = [weighted_score(one, weights(one.correlations)) for one in found]
        yield Tried(
            candidate.gamma, candidate.unpaired, ridges, power, sum(scores) / len(scores) if scores else math.nan
        )


def _lift(x: Float[Tensor, "n d"], blocks: Sequence[int], gamma: float | None, rank: int) -> Lift:
    if gamma is None:
        return LinearLift.fitted(x, blocks=blocks)
    return KernelLift.fitted(x, gamma=gamma, blocks=blocks, rank=rank)

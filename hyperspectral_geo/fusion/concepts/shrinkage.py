"""How far concepts are trusted over their background: chosen by cross-validation on their own samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.fusion.alignment import check_samples
from hyperspectral_geo.fusion.concepts.background import Background, centred_rows, number_groups, row_spectrum
from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule, concept_module
from hyperspectral_geo.validation import require_seed

__all__ = ["ConceptShrinkage", "choose_shrinkage"]

SHRINKAGES = (0.25, 0.5, 0.75, 0.95)
SPREADS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
_TEMPERATURES = tuple(2.0 ** (k / 2) for k in range(-4, 25))


@dataclass(frozen=True)
class ConceptShrinkage:
    """What cross-validation chose, and what it saw.

    Attributes:
        shrinkage: γ of the background; 1 leaves the features as they are.
        spread: κ, how much the concepts' own variances count; 0 compares distances to the means alone.
        temperature: what the log densities are divided by, since features are less independent than a Gaussian takes
            them for.
        losses: mean negative log probability of the true class of held-out samples, by (shrinkage, spread).
    """

    shrinkage: float
    spread: float
    temperature: float
    losses: dict[tuple[float, float], float]


def choose_shrinkage(
    x: Float[Tensor, "n d"],
    groups: Int[Tensor, " n"],
    *,
    background: Background | None = None,
    shrinkage: float | None = None,
    spread: float | None = None,
    rank: int | str | None = None,
    folds: int = 3,
    seed: int = 0,
) -> ConceptShrinkage:
    """The setting under which held-out samples are most probable, of a grid of 4 shrinkages and 6 spreads.

    All concepts count as equally likely beforehand, whatever their numbers of samples.

    Each fold learns background and concepts from the other folds. The first sample of a group is always learned from,
    so that every concept exists in every fold. A fold without which no sample differs from the others of its group, nor
    a group from the others, judges nothing; if there is no other, the setting is one in the middle and not judged.

    Args:
        x: samples, float64.
        groups: which concept a sample shows, whole numbers.
        background: if given, it stays, and no shrinkage is chosen.
        shrinkage, spread: if given, kept.
        rank: of the concepts, see ``concept_module``.
        folds: at least 2.
        seed: of the shuffle.

    Raises:
        ValueError: for NaN, or groups that are not one whole number a sample.
    """
    check_samples("x", x)
    groups = number_groups(groups, len(x))
    shrinkages = (1.0,) if background is not None else SHRINKAGES if shrinkage is None else (shrinkage,)
    spreads = SPREADS if spread is None else (spread,)
    require_seed(seed)
    fold = _folds(groups, folds, seed)
    scores: dict[tuple[float, float], list[Tensor]] = {(g, k): [] for g in shrinkages for k in spreads}
    truth: list[Tensor] = []
    for held in range(folds):
        test, train = fold == held, fold != held
        spectrum = None if background is not None else _spread_within(x[train], groups[train])
        if not bool(test.any()) or (spectrum is not None and not len(spectrum[2])):
            continue
        truth.append(groups[test])
        for g in shrinkages:
            space = background or Background.of_spread(*spectrum, shrinkage=g)  # pyright: ignore[reportOptionalIterable]
            concepts = learn_concepts(x[train], groups[train], background=space, rank=rank)
            for k, found in _densities(concepts, space.whiten(x[test]), spreads).items():
                scores[g, k].append(found)
    if not truth:
        return ConceptShrinkage(shrinkages[min(1, len(shrinkages) - 1)], spreads[0], 1.0, {})
    fitted = {key: _best_temperature(torch.cat(found), torch.cat(truth)) for key, found in scores.items()}
    best = min(fitted, key=lambda key: fitted[key][0])
    return ConceptShrinkage(*best, fitted[best][1], {key: loss for key, (loss, _) in fitted.items()})


def learn_concepts(
    x: Tensor, groups: Tensor, *, background: Background, rank: int | str | None, names: list[str] | None = None
) -> tuple[ConceptModule, ...]:
    """One concept for each group, from its own samples alone."""
    count = int(groups.max()) + 1
    return tuple(
        concept_module(x[groups == g], name=str(g) if names is None else names[g], rank=rank, background=background)  # pyright: ignore[reportArgumentType]
        for g in range(count)
    )


def learn_background(x: Tensor, groups: Tensor, *, shrinkage: float) -> Background:
    """The background of labelled samples: their mean and their covariance within groups."""
    return Background.of_spread(*_spread_within(x, groups), shrinkage=shrinkage)


def _spread_within(x: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, directions and variances within groups; about the common mean where no group varies."""
    mean = x.mean(0)
    directions, variances = row_spectrum(centred_rows(x, groups))
    if not variances.numel():
        directions, variances = row_spectrum(centred_rows(x))
    return mean, directions, variances


def _densities(concepts: tuple[ConceptModule, ...], z: Tensor, spreads: tuple[float, ...]) -> dict[float, Tensor]:
    deviations = [concept.deviations(z) for concept in concepts]
    return {
        spread: torch.stack(
            [concept.density_of(*found, spread=spread) for concept, found in zip(concepts, deviations, strict=True)], 1
        )
        for spread in spreads
    }


def _folds(groups: Tensor, folds: int, seed: int) -> Tensor:
    """Fold of each sample, each group dealt out evenly; −1, always learned from, for one sample of each."""
    fold = torch.full_like(groups, -1)
    generator = torch.Generator().manual_seed(seed)
    start = 0
    for group in range(int(groups.max()) + 1):
        rows = torch.nonzero(groups == group).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)][1:]
        fold[rows] = (torch.arange(len(rows)) + start) % folds
        start += len(rows)
    return fold


def _best_temperature(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """Least mean loss and the temperature that gives it."""
    losses = [
        (torch.nn.functional.cross_entropy(scores / temperature, truth).item(), temperature)
        for temperature in _TEMPERATURES
    ]
    return min(losses)

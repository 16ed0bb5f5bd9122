"""The ridge of canonical correlation analysis, chosen by cross-validated retrieval on the training pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from jaxtyping import Float
from torch import Tensor

from .alignment import check_count, check_pairs, join_spectra, view_spectrum
from .retrieval import mean_reciprocal_rank

__all__ = ["DEFAULT_RIDGES", "RidgeChoice", "select_ridge"]

DEFAULT_RIDGES = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)


@dataclass(frozen=True)
class RidgeChoice:
    """The ridge with the best mean score, and all scores: one row a fold, one column a ridge."""

    ridge: float
    ridges: tuple[float, ...]
    scores: Float[Tensor, "folds ridges"]


def select_ridge(
    x: Float[Tensor, "n dx"],
    y: Float[Tensor, "n dy"],
    *,
    n_components: int = 64,
    ridges: Sequence[float] = DEFAULT_RIDGES,
    folds: int = 5,
    seed: int = 0,
) -> RidgeChoice:
    """Choose the ridge whose directions, fitted on K − 1 folds, best retrieve the pairs of the fold left out.

    The score is the mean reciprocal rank of both directions. The views are decomposed once a fold, in float32, and all
    ridges share that; of equal ridges the largest wins. Nothing but the pairs given is looked at.

    Args:
        x, y: training pairs, shapes (n, dx) and (n, dy), n ≥ 2·folds.
        n_components: directions to keep, as in the fit that follows.
        ridges: candidates, each > 0, in units of the mean variance (see ``rcca``).
        folds: K ≥ 2; the pairs are shuffled with ``seed`` and split evenly.

    Returns:
        ``RidgeChoice``: the winner, the candidates and their scores, shape (folds, ridges).

    Raises:
        ValueError: as ``rcca``; for too few pairs, fewer than two folds, or no positive candidate.

    >>> x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    >>> select_ridge(x, x @ torch.rand(3, 3), n_components=2, ridges=[0.01, 1000.0]).ridge
    0.01
    """
    check_pairs(x, y)
    check_count("n_components", n_components)
    check_count("folds", folds)
    if folds < 2 or len(x) < 2 * folds:
        raise ValueError(
            f"folds: expected 2 or more, with two pairs in each, got {folds} for {len(x)} pairs; give a ridge"
        )
    if not ridges or not all(isinstance(ridge, Real) and 0 < ridge < float("inf") for ridge in ridges):
        raise ValueError(
            f"ridges: expected finite candidates > 0, got {tuple(ridges)}; for no ridge call rcca directly"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    x, y = _prepared(x), _prepared(y)
    scores = []
    for held_out in order.tensor_split(folds):
        kept = torch.ones(len(x), dtype=torch.bool, device=x.device)
        kept[held_out] = False
        spectra = view_spectrum("x", x[kept], dtype=torch.float32), view_spectrum("y", y[kept], dtype=torch.float32)
        directions = (join_spectra(*spectra, (ridge, ridge), n_components, dtype=torch.float32) for ridge in ridges)
        scores.append([mean_reciprocal_rank(found.similarity(x[held_out], y[held_out])) for found in directions])
    table = torch.tensor(scores, dtype=torch.float64)
    _, ridge = max(zip(table.mean(dim=0).tolist(), ridges, strict=True))
    return RidgeChoice(ridge=float(ridge), ridges=tuple(float(ridge) for ridge in ridges), scores=table)


def _prepared(x: Tensor) -> Tensor:
    """Centred and scaled in float64, then float32: a large offset would otherwise use up float32's digits."""
    centred = x.double() - x.double().mean(dim=0)
    return (centred / centred.abs().max().clamp(min=torch.finfo(torch.float64).tiny)).float()

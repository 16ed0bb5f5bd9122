"""Distances of any unit brought to hops: models of links know which pages are near, not how many hops that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from hyperspectral_geo.hyperbolic.predictions import PredictsRows

__all__ = ["ReadOut", "affine_readout", "monotone_readout"]

_LEVELS = 1024
_KEEPS_ORDER = 1e-6  # hops per unit: a flat part of the read-out shall not tie pairs that the model tells apart


@dataclass(frozen=True, eq=False)
class ReadOut:
    """A model's distances through a curve: linear between its corners, and as its first and last part beyond them.

    Attributes:
        model: gives distances of any unit.
        corners, heights: (k,) float64, distances in ascending order and the hops that they stand for; a single
            one stands for all.
    """

    model: PredictsRows
    corners: Float[Tensor, " k"]
    heights: Float[Tensor, " k"]

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """Predictions in hops from some nodes (default: all) to all."""
        far = self.model.distances(sources).double()
        if len(self.corners) == 1:
            return torch.full_like(far, float(self.heights[0]))
        part = torch.searchsorted(self.corners, far).clamp_(1, len(self.corners) - 1)
        slopes = self.heights.diff() / self.corners.diff()
        return self.heights[part - 1] + slopes[part - 1] * (far - self.corners[part - 1])


def affine_readout(model: PredictsRows, hops: Real[Tensor, "n n"], held: Bool[Tensor, "n n"]) -> ReadOut:
    """The line a·d + b nearest to the hop counts that are not held out, by least squares.

    Example:
        >>> from hyperspectral_geo.hyperbolic.baselines import BestSymmetric
        >>> hops = torch.tensor([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
        >>> model = BestSymmetric(10.0 * hops, "squared")
        >>> affine_readout(model, hops, hops < 0).distances()[0, 1:]
        tensor([1., 2.], dtype=torch.float64)
    """
    far, true = _training_distances(model, hops, held)
    centre, level = far.mean(), true.mean()
    slope = (far - centre).dot(true - level) / (far - centre).square().sum().clamp_min(1e-300)
    ends = torch.stack([centre, centre + 1])
    return ReadOut(model, ends, level + slope * (ends - centre))


def monotone_readout(model: PredictsRows, hops: Real[Tensor, "n n"], held: Bool[Tensor, "n n"]) -> ReadOut:
    """The best curve that does not fall, by least squares over the pairs that are not held out: isotonic regression.

    Of 1,024 equal groups of pairs in the order of their distances, each counting as its mean. What the fit leaves flat
    rises by a millionth of a hop per unit, so that the order of the distances stays.

    Example:
        >>> from hyperspectral_geo.hyperbolic.baselines import BestSymmetric
        >>> hops = torch.tensor([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
        >>> model = BestSymmetric(hops**2, "squared")
        >>> monotone_readout(model, hops, hops < 0).distances()[0, 1:].round(decimals=3)
        tensor([1., 2.], dtype=torch.float64)
    """
    from scipy.optimize import isotonic_regression

    far, true = _training_distances(model, hops, held)
    order = far.argsort()
    groups = [far[order].tensor_split(_LEVELS), true[order].tensor_split(_LEVELS)]
    corners, heights = (np.array([float(part.mean()) for part in parts if len(part)]) for parts in groups)
    weights = np.array([len(part) for part in groups[0] if len(part)])
    corners, first = np.unique(corners, return_inverse=True)
    total = np.bincount(first, weights)
    heights = isotonic_regression(np.bincount(first, weights * heights) / total, weights=total).x
    return ReadOut(model, torch.from_numpy(corners), torch.from_numpy(heights + _KEEPS_ORDER * corners))


def _training_distances(
    model: PredictsRows, hops: Tensor, held: Tensor
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Distances of the model and hop counts, over pairs that a walk joins and that are not held out."""
    seen = (hops > 0) & hops.isfinite() & ~held
    return model.distances().double()[seen], hops[seen].double()

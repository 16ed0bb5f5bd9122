"""Eigenvalues of the joint space: how much each direction counts, learned on held-out pairs from an anchor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.cross_fit import HeldOut, weighted_score

__all__ = ["FilterEvidence", "SpectralFilter", "learn_filter"]

_KNOTS = 8
_ROWS = 300
_DIRECTIONS = 256
_FLOOR = 1e-6  # of correlations, whose logarithm is taken


@dataclass(frozen=True)
class SpectralFilter:
    """Weights g(ρ) = ρ^p · exp(h(ρ)) of joint directions, h piecewise linear in the correlation and 0 at the anchor.

    A function of the correlation, and not one number a direction, is what bases of different folds can share. p = 0
    counts all directions alike, as CCA does; p = ½ in both views weighs products of coordinates by ρ, as canonical
    similarity analysis does.

    Attributes:
        power: p ≥ 0.
        knots: ascending, (j,).
        heights: h at the knots, (j,); zeros are the anchor.
    """

    power: float
    knots: Float[Tensor, " j"]
    heights: Float[Tensor, " j"]

    @classmethod
    def anchor(cls, power: float) -> SpectralFilter:
        """ρ^p, nothing learned."""
        knots = torch.linspace(0, 1, _KNOTS, dtype=torch.float64)
        return cls(power, knots, torch.zeros_like(knots))

    def __call__(self, correlations: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Weights of directions, at most one before what was learned; correlations above one are taken relative."""
        relative = _relative(correlations)
        return relative**self.power * (_hats(relative, self.knots) @ self.heights).exp()


@dataclass(frozen=True)
class FilterEvidence:
    """What held-out pairs say of a learned filter beside its anchor.

    Attributes:
        gain: of the log-probability of the true partner, mean over held-out rows.
        standard_error: of the gain, over the rows.
        kept: whether the filter was kept.
    """

    gain: float
    standard_error: float
    kept: bool


def learn_filter(
    found: Sequence[HeldOut], power: float, *, caution: float = 1.0, steps: int = 60
) -> tuple[SpectralFilter, FilterEvidence]:
    """Learn g on cross-fitted coordinates, and keep it only if it helps on folds that it was not learned on.

    The heights h minimise the contrastive loss of held-out pairs, −log softmax_j(cos(z_i, z'_j)/τ) at the partner, both
    ways, with a temperature of its own, plus ‖h‖²/(2m) for m pairs: a normal prior around the anchor. For the verdict
    they are learned on all folds but one and judged on that one.

    Args:
        found: coordinates by fold, of bases that have not seen the fold.
        power: p of the anchor.
        caution: standard errors by which the mean gain must exceed zero; the mean reciprocal rank may not fall either.
        steps: of L-BFGS.

    Returns:
        The filter and the evidence; the anchor where there is none.

    References:
        van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018,
        arXiv:1807.03748, for the loss. Chernozhukov et al., "Double/debiased machine learning for treatment and
        structural parameters", 2018, for cross-fitting.
    """
    anchor = SpectralFilter.anchor(power)
    found = [_fewer(one) for one in found]
    gains, better = [], 0.0
    for left_out in found:
        others = [one for one in found if one is not left_out]
        learned, tau = _fitted(others, anchor, steps)
        plain_tau = _fitted(others, anchor, steps, free=False)[1]
        with torch.no_grad():
            gains.append(_losses(left_out, anchor, plain_tau) - _losses(left_out, learned, tau))
        better += weighted_score(left_out, learned(left_out.correlations))
        better -= weighted_score(left_out, anchor(left_out.correlations))
    gain = torch.cat(gains)
    error = float(gain.std() / len(gain) ** 0.5)
    kept = bool(float(gain.mean()) > caution * error and better > 0)
    learned = _fitted(found, anchor, steps)[0] if kept else anchor
    return learned, FilterEvidence(float(gain.mean()), error, kept)


def _fewer(found: HeldOut) -> HeldOut:
    """The first rows and leading directions: enough for a curve of eight numbers, and the loss is quadratic in them."""
    return HeldOut(tuple(part[:_ROWS, :_DIRECTIONS] for part in found.coordinates), found.correlations[:_DIRECTIONS])


def _fitted(
    found: Sequence[HeldOut], anchor: SpectralFilter, steps: int, *, free: bool = True
) -> tuple[SpectralFilter, Tensor]:
    from scipy.optimize import minimize

    pairs = sum(len(one.coordinates[0]) for one in found)
    start = np.append(np.zeros(len(anchor.heights) if free else 0), -2.0)  # heights, and the temperature's logarithm

    def loss_and_slope(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(numbers).requires_grad_()
        with torch.enable_grad():
            heights, tau = point[:-1], point[-1].exp()
            now = SpectralFilter(anchor.power, anchor.knots, heights) if free else anchor
            loss = torch.stack([_losses(one, now, tau).sum() for one in found]).sum()
            loss = (loss + heights.square().sum() / 2) / pairs
            loss.backward()
        assert point.grad is not None
        return float(loss.detach()), point.grad.numpy()

    best = minimize(loss_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    heights = torch.from_numpy(best[:-1]) if free else anchor.heights
    return SpectralFilter(anchor.power, anchor.knots, heights), torch.tensor(math.exp(best[-1]))


def _losses(found: HeldOut, weights: SpectralFilter, tau: Tensor) -> Float[Tensor, " m"]:
    """−log probability of the partner of each row, mean of both ways and of all pairs of views."""
    g = weights(found.correlations)
    units = [torch.nn.functional.normalize(part * g, dim=1) for part in found.coordinates]
    losses = []
    for x, y in combinations(units, 2):
        logits = x @ y.T / tau
        losses += [-torch.diagonal(logits.log_softmax(1)), -torch.diagonal(logits.log_softmax(0))]
    return torch.stack(losses).mean(0)


def _relative(correlations: Tensor) -> Tensor:
    """Correlations, or covariances relative to the largest, from a little above 0 to 1."""
    largest = correlations.max().clamp_min(1.0)
    return (correlations / largest).clamp(_FLOOR, 1.0)


def _hats(values: Tensor, knots: Tensor) -> Float[Tensor, "k j"]:
    """Piecewise linear basis: row i holds the shares of the two knots around value i."""
    steps = knots[1:] - knots[:-1]
    place = torch.searchsorted(knots, values.contiguous(), right=True).clamp(1, len(knots) - 1)
    share = (values - knots[place - 1]) / steps[place - 1]
    hats = values.new_zeros(len(values), len(knots))
    rows = torch.arange(len(values))
    hats[rows, place - 1], hats[rows, place] = 1 - share, share
    return hats

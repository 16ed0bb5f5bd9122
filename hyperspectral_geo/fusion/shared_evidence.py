"""Whether views share anything: correlations of held-out rows beside those of shuffled ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.cross_fit import HeldOut

__all__ = ["SharedEvidence", "shared_evidence"]

_QUANTILE = 0.99
_DIRECTIONS = 100  # the leading ones, which are tested
_TIE = 1e-5  # of correlations
_ENTRIES = 1 << 22  # of permuted coordinates at once


@dataclass(frozen=True)
class SharedEvidence:
    """Held-out correlations of joint directions, and what chance would give.

    Attributes:
        p_value: how often shuffled rows agree as much over all directions: (1 + #) / (1 + permutations).
        correlations: of the leading directions on rows that a basis has not seen, mean over folds and pairs of views.
        chance: what holds 99 % of each of them when the rows of one view are shuffled: lower and upper ends.
        edge: 99 % quantile of the largest of them when the rows of one view are shuffled.
    """

    p_value: float
    correlations: Float[Tensor, " k"]
    chance: Float[Tensor, "2 k"]
    edge: float

    @property
    def count(self) -> int:
        """Directions whose held-out correlation is above the edge."""
        return int((self.correlations > self.edge).sum())


def shared_evidence(found: Sequence[HeldOut], *, permutations: int = 999, seed: int = 0) -> SharedEvidence:
    """Permutation test on cross-fitted coordinates.

    Rows of the second view of each pair are shuffled within their fold. Under independence of the views that changes
    no distribution, whatever the bases are: these have seen neither order. The statistic is Σ_i ρ_i r_i with r_i the
    held-out correlation of direction i and ρ_i that of the fit.

    Args:
        found: coordinates by fold.
        permutations: P; the least p-value is 1/(P + 1).
        seed: of the permutations.

    References:
        Winkler, Renaud, Smith and Nichols, "Permutation inference for canonical correlation analysis", 2020,
        arXiv:2002.10046, who show why in-sample correlations cannot be tested so simply.
    """
    generator = torch.Generator().manual_seed(seed)
    k = min(_DIRECTIONS, *(len(one.correlations) for one in found))
    true, shuffled = torch.zeros(k, dtype=torch.float64), torch.zeros(permutations, k, dtype=torch.float64)
    weights = torch.stack([one.correlations[:k].double() for one in found]).mean(0)
    shares = 0
    for one in found:
        views = [_standardised(part[:, :k]) for part in one.coordinates]
        for x, y in combinations(views, 2):
            true += (x * y).sum(0)
            # single precision, and a direction after the other in memory: the time goes into shuffling numbers
            rows, others = x.T.float()[:, :, None], y.T.float().contiguous()
            batch = max(1, _ENTRIES // max(1, y.numel()))
            for start in range(0, permutations, batch):
                some = slice(start, min(start + batch, permutations))
                orders = torch.rand(some.stop - some.start, len(x), generator=generator).argsort(1)
                shuffled[some] += (others[:, orders] @ rows)[:, :, 0].T
            shares += 1
    true, shuffled = true / shares, shuffled / shares
    # a shuffle that changes nothing, likely with few rows, must count: it is a tie but for rounding in single precision
    above = int((shuffled @ weights >= true @ weights - _TIE * weights.sum()).sum())
    tail = (1 - _QUANTILE) / 2
    chance = shuffled.quantile(torch.tensor([tail, 1 - tail], dtype=shuffled.dtype), dim=0)
    edge = float(shuffled.amax(1).quantile(_QUANTILE))
    return SharedEvidence((1 + above) / (1 + permutations), true, chance, edge)


def _standardised(x: Tensor) -> Tensor:
    """Columns of mean 0 and length 1, so that products sum to correlations; constant ones become 0."""
    centred = x.double() - x.double().mean(0)
    return torch.nn.functional.normalize(centred, dim=0)

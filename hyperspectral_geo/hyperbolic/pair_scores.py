"""The number by which a model orders pairs, in float64: of all pairs, of given ones, and from below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.distance_bounds import SLACK, distance_below
from hyperspectral_geo.hyperbolic.geometry import Geometry, accurate_pairwise, exact_distance
from hyperspectral_geo.hyperbolic.readout import Staircase
from hyperspectral_geo.hyperbolic.step_forms import form_scores, rowwise_form_scores

__all__ = ["Ends", "PairScores"]


class Ends(NamedTuple):
    """Concepts as one end of pairs, in float64.

    Attributes:
        points: of the geometry, (m, c).
        scalars: what it costs to leave or to reach each, (m,).
        features: φ, (m, f), where the model has forms.
    """

    points: Tensor
    scalars: Tensor
    features: Tensor | None = None

    def some(self, at: Int[Tensor, " k"]) -> Ends:
        """These of them."""
        return Ends(self.points[at], self.scalars[at], None if self.features is None else self.features[at])


@dataclass(frozen=True, eq=False)
class PairScores:
    """Score of a pair: x = s·d_M + a + b; with forms Σ_k σ(β_k(x + φ_uᵀ M_k φ_v − θ_k)), see ``step_forms``.

    The first is what a read-out takes; the second is the climb of the read-out itself. No gradients.

    Attributes:
        geometry: M.
        scale: s.
        readout: θ and β; may be None without forms.
        forms: M_k, (K, f, f) float64, or None.
    """

    geometry: Geometry
    scale: float
    readout: Staircase | None = None
    forms: Float[Tensor, "k f f"] | None = None

    def flipped(self) -> PairScores:
        """The same scores with the ends in the other order."""
        return self if self.forms is None else replace(self, forms=self.forms.mT)

    def hops(self, score: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """What a score is in hops."""
        if self.forms is not None:
            return 1 + score
        return score if self.readout is None else self.readout(score)

    def pairwise(self, left: Ends, right: Ends) -> Float[Tensor, "m n"]:
        """Scores of all pairs, good to 1e-7 hops at any radius (see ``accurate_pairwise``)."""
        metric = accurate_pairwise(left.points, right.points, self.geometry).mul_(self.scale)
        return self._climbed(metric.add_(left.scalars[:, None]).add_(right.scalars), form_scores, left, right)

    def rowwise(self, left: Ends, right: Ends) -> Float[Tensor, " n"]:
        """Scores of corresponding rows, without cancellation at any radius."""
        metric = self.scale * exact_distance(left.points, right.points, self.geometry) + left.scalars + right.scalars
        return self._climbed(metric, rowwise_form_scores, left, right)

    def below(self, left: Ends, right: Ends) -> Float[Tensor, "m n"]:
        """Numbers that the row-wise scores of all pairs do not fall below, by a matrix product or one more a step."""
        below = distance_below(left.points, right.points, self.geometry).mul_(self.scale)
        # In the order of rowwise: rounding is monotone, so what is below stays below.
        below = self._climbed(below.add_(left.scalars[:, None]).add_(right.scalars), _forms_below, left, right)
        return below if self.forms is None else below.mul_(1 - SLACK)

    def _climbed(self, metric: Tensor, added: Callable[..., Tensor], left: Ends, right: Ends) -> Tensor:
        """The climb where there are forms, a step at a time: all steps at once would be K tables."""
        if self.forms is None or self.readout is None:
            return metric
        forms = self.forms.split(1)
        return self.readout.climbed(added(left.features, right.features, form)[0].add_(metric) for form in forms)


def _forms_below(left: Tensor, right: Tensor, forms: Tensor) -> Float[Tensor, "k m n"]:
    """Lower bounds on ``rowwise_form_scores`` of all pairs: |φ_u|ᵀ|M_k|·|φ_v| bounds what rounding can do."""
    rounding = 16 * (right.shape[1] + 2) * torch.finfo(right.dtype).eps
    reach = torch.linalg.vector_norm(left.abs() @ forms.abs(), dim=-1)
    lengths = reach[..., None] * torch.linalg.vector_norm(right, dim=-1)
    return form_scores(left, right, forms).sub_(lengths.mul_(rounding))

"""Relative representations as a joint space: coordinates are similarities to the training pairs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.cross_fit import HeldOut, weighted_score
from hyperspectral_geo.fusion.decoding import Decoder
from hyperspectral_geo.fusion.joint_basis import JointBasis
from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.lifting import AnchorLift
from hyperspectral_geo.fusion.moments import mean_of_rows
from hyperspectral_geo.fusion.spectral_filter import SpectralFilter
from hyperspectral_geo.fusion.views import Views

__all__ = ["AnchorSpace", "anchor_space"]

_POWERS = (1.0, 2.0, 4.0, 8.0)
_SHARES = (0.02, 0.1, 0.3, 1.0)  # of the anchors that a sample keeps
_LEAST = 5


class AnchorSpace(JointSpace):
    """A joint space whose lifts are coordinates already: similarities to anchors that are paired."""

    def coordinates(self, view: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Shares of the anchors, which sum to one, in float64."""
        return self.lifts[view](x)

    def novelty(self, view: int, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Refused: nothing is projected, so that nothing lies outside."""
        raise ValueError("novelty: expected a method that joins subspaces, got 'asif'; fit another")


def anchor_space(views: Views, *, folds: int = 5, seed: int = 0) -> AnchorSpace:
    """The complete rows as anchors; power and number of neighbours by cross-validation on them.

    Coordinate j of a sample is its similarity to anchor j in its own view, so that all views have the same coordinates
    and nothing is fitted.

    References:
        Norelli et al., "ASIF", 2023, arXiv:2210.01738.
    """
    rows = [x[views.complete] for x in views.rows]
    order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(seed))
    scores: dict[tuple[float, int], float] = {}
    for power in _POWERS:
        for kept in sorted({max(_LEAST, round(share * len(order))) for share in _SHARES}):
            for inside in order.tensor_split(min(folds, len(order) // 2)):
                outside = torch.ones(len(order), dtype=torch.bool)
                outside[inside] = False
                codes = tuple(AnchorLift.fitted(x[outside], kept=kept, power=power)(x[inside]) for x in rows)
                found = HeldOut(codes, torch.ones(codes[0].shape[1], dtype=torch.float64))
                score = weighted_score(found, found.correlations)
                scores[power, kept] = scores.get((power, kept), 0.0) + score
    power, kept = max(scores, key=lambda setting: scores[setting])
    views_of = range(len(rows))
    means = [mean_of_rows(x) for x in rows]
    decoders = [Decoder(x.double() - mean, mean) for x, mean in zip(rows, means, strict=True)]
    return AnchorSpace(
        blocks=views.blocks,
        lifts=tuple(AnchorLift.fitted(x, kept=kept, power=power) for x in rows),
        basis=JointBasis((), (), torch.ones(len(order), dtype=torch.float64)),
        spectral_filter=SpectralFilter.anchor(0.0),
        decoders={(u, v): decoders[v] for u in views_of for v in views_of},  # weighted means of the anchors
        shared=len(order),
    )

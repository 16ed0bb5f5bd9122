"""Relative representations as a joint space: coordinates are similarities to the training pairs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.cross_fit import HeldOut, weighted_score
from hyperspectral_geo.fusion.joint_basis import JointBasis
from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.lifting import AnchorLift
from hyperspectral_geo.fusion.spectral_filter import SpectralFilter
from hyperspectral_geo.fusion.views import Views

__all__ = ["anchor_space"]

_POWERS = (1.0, 2.0, 4.0, 8.0)
_SHARES = (0.02, 0.1, 0.3, 1.0)  # of the anchors that a sample keeps
_LEAST = 5
_FOLDS = 5


def anchor_space(views: Views, *, seed: int = 0) -> JointSpace:
    """The complete rows as anchors; power and number of neighbours by cross-validation on them.

    Coordinate j of a sample is its similarity to anchor j in its own view, so that both views have the same
    coordinates and nothing is fitted.

    References:
        Norelli et al., "ASIF", 2023, arXiv:2210.01738.
    """
    rows = [x[views.complete] for x in views.rows]
    order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(seed))
    scores: dict[tuple[float, int], float] = {}
    for power in _POWERS:
        for kept in sorted({max(_LEAST, round(share * len(order))) for share in _SHARES}):
            for inside in order.tensor_split(min(_FOLDS, len(order) // 2)):
                outside = torch.ones(len(order), dtype=torch.bool)
                outside[inside] = False
                codes = tuple(AnchorLift.fitted(x[outside], kept=kept, power=power)(x[inside]) for x in rows)
                found = HeldOut(codes, torch.ones(codes[0].shape[1], dtype=torch.float64))
                score = weighted_score(found, found.correlations)
                scores[power, kept] = scores.get((power, kept), 0.0) + score
    power, kept = max(scores, key=lambda setting: scores[setting])
    anchors = len(rows[0])
    identity = torch.eye(anchors, dtype=torch.float64)
    zeros = torch.zeros(anchors, dtype=torch.float64)
    count = len(rows)
    return JointSpace(
        blocks=views.blocks,
        lifts=tuple(AnchorLift.fitted(x, kept=kept, power=power) for x in rows),
        basis=JointBasis((zeros,) * count, (identity,) * count, torch.ones_like(zeros)),
        spectral_filter=SpectralFilter.anchor(0.0),
        decoders={(u, v): _averaged(rows[v]) for u in range(count) for v in range(count)},
        feature_means=tuple(x.double().mean(0) for x in rows),
        shared=anchors,
    )


def _averaged(x: Float[Tensor, "a d"]) -> Float[Tensor, "a d"]:
    """Features of the anchors, so that coordinates that sum to one give their weighted mean."""
    return x.double() - x.double().mean(0)

"""From joint coordinates to features: what to expect of one view beside samples of another, by ridge regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hyperspectral_geo.fusion.joint_basis import JointBasis
from hyperspectral_geo.fusion.lifting import Lift
from hyperspectral_geo.fusion.moments import Moments, mean_of_rows

__all__ = ["Decoders", "decoders_of_moments", "decoders_of_rows"]

Decoders = Mapping[tuple[int, int], Float[Tensor, "k d"]]
"""By source and target view: the map from the source's coordinates to the target's features, less their mean."""

_ROWS = 8192
_RIDGE = 0.1  # of the coordinates' mean variance: they are whitened, so that light is enough


def decoders_of_rows(
    basis: JointBasis,
    lifts: Sequence[Lift],
    rows: Sequence[Float[Tensor, "n _"]],
    present: Sequence[Bool[Tensor, " n"] | None],
) -> Decoders:
    """Ridge regression of features on coordinates, over the rows that have both views."""
    views, k = range(len(rows)), len(basis.correlations)
    pairs = list(product(views, views))
    squares = {pair: torch.zeros(k, k, dtype=torch.float64) for pair in pairs}
    products = {(u, v): torch.zeros(k, rows[v].shape[1], dtype=torch.float64) for u, v in pairs}
    means = [mean_of_rows(x if mask is None else x[mask]) for x, mask in zip(rows, present, strict=True)]
    for start in range(0, len(rows[0]), _ROWS):
        block = slice(start, start + _ROWS)
        codes = [basis.coordinates(v, lifts[v](rows[v][block])) for v in views]
        features = [rows[v][block].double() - means[v] for v in views]
        for v, mask in enumerate(present):
            if mask is not None:
                codes[v], features[v] = codes[v] * mask[block, None], features[v] * mask[block, None]
        for u, v in pairs:
            mask = present[v]
            z = codes[u] if mask is None else codes[u] * mask[block, None]
            squares[u, v].addmm_(z.T, z)
            products[u, v].addmm_(z.T, features[v])
    return {pair: _solved(squares[pair], products[pair]) for pair in pairs}


def decoders_of_moments(basis: JointBasis, moments: Moments, scales: Sequence[Float[Tensor, " _"] | None]) -> Decoders:
    """The same where features are no more than scaled: Wᵀ C_uu W and Wᵀ C_uv are all that is needed.

    Args:
        basis: of the views.
        moments: of the scaled features.
        scales: of each view's features, ``None`` where they are as they were; a feature whose scale is 0 is constant.
    """
    found = {}
    for u, v in product(range(len(moments)), repeat=2):
        weights, scale = basis.weights[u], scales[v]
        products = weights.T @ moments.covariance(u, v)
        if scale is not None:
            products = torch.where(scale > 0, products / scale, 0.0)
        found[u, v] = _solved(weights.T @ moments.covariance(u, u) @ weights, products)
    return found


def _solved(squares: Tensor, products: Tensor) -> Tensor:
    if not len(squares):
        return products
    ridge = _RIDGE * squares.diagonal().mean().clamp_min(torch.finfo(squares.dtype).tiny)
    return torch.linalg.solve(squares + ridge * torch.eye(len(squares), dtype=squares.dtype), products)

"""From joint coordinates to features: what to expect of one view beside samples of another, by least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hyperspectral_geo.fusion.joint_basis import JointBasis
from hyperspectral_geo.fusion.lifting import Lift
from hyperspectral_geo.fusion.moments import Moments

__all__ = ["Decoders", "decoders_of_moments", "decoders_of_rows"]

Decoders = Mapping[tuple[int, int], Float[Tensor, "s d"]]
"""By source and target view: the map from the source's leading s coordinates to the target's features, less mean."""

_ROWS = 8192
_TINY = 1e-9  # of the mean variance: coordinates that are constant


def decoders_of_rows(
    basis: JointBasis,
    lifts: Sequence[Lift],
    rows: Sequence[Float[Tensor, "n _"]],
    present: Sequence[Bool[Tensor, " n"] | None],
    *,
    shared: int,
) -> Decoders:
    """Least squares on the leading ``shared`` coordinates, over the rows that have both views."""
    views = range(len(rows))
    leading = JointBasis(basis.means, tuple(part[:, :shared] for part in basis.weights), basis.correlations[:shared])
    squares = {pair: torch.zeros(shared, shared, dtype=torch.float64) for pair in product(views, views)}
    products = {(u, v): torch.zeros(shared, rows[v].shape[1], dtype=torch.float64) for u, v in squares}
    means = [(x if mask is None else x[mask]).double().mean(0) for x, mask in zip(rows, present, strict=True)]
    for start in range(0, len(rows[0]), _ROWS):
        block = slice(start, start + _ROWS)
        codes = [leading.coordinates(v, lifts[v](rows[v][block])) for v in views]
        for v, mask in enumerate(present):
            if mask is not None:
                codes[v] = codes[v] * mask[block, None]
        for u, v in squares:
            both = present[v]
            z = codes[u] if both is None else codes[u] * both[block, None]
            squares[u, v].addmm_(z.T, z)
            products[u, v].addmm_(z.T, rows[v][block].double() - means[v])
    return {pair: _solved(squares[pair], products[pair]) for pair in squares}


def decoders_of_moments(basis: JointBasis, moments: Moments, *, shared: int) -> Decoders:
    """The same where features are not lifted: Wᵀ C_uu W and Wᵀ C_uv are all that is needed."""
    found = {}
    for u, v in product(range(len(moments)), repeat=2):
        weights = basis.weights[u][:, :shared]
        found[u, v] = _solved(weights.T @ moments.covariance(u, u) @ weights, weights.T @ moments.covariance(u, v))
    return found


def _solved(squares: Tensor, products: Tensor) -> Tensor:
    if not len(squares):
        return products
    ridge = _TINY * squares.diagonal().mean().clamp_min(torch.finfo(squares.dtype).tiny)
    return torch.linalg.solve(squares + ridge * torch.eye(len(squares), dtype=squares.dtype), products)

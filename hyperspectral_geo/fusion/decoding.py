"""From joint coordinates to features: what to expect of one view beside samples of another, by ridge regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hyperspectral_geo.fusion.joint_basis import JointBasis
from hyperspectral_geo.fusion.lifting import Lift, LinearLift
from hyperspectral_geo.fusion.moments import Moments, mean_of_rows

__all__ = ["Decoder", "Decoders", "decoders_of_moments", "decoders_of_rows"]

_ROWS = 8192
_RIDGE = 0.1  # of the coordinates' mean variance: they are whitened, so that light is enough


@dataclass(frozen=True, eq=False)
class Decoder:
    """Features of a view beside coordinates z of another (or of itself): offset + z·weights.

    Attributes:
        weights: (k, d).
        offset: (d,).
    """

    weights: Float[Tensor, "k d"]
    offset: Float[Tensor, " d"]

    def __call__(self, z: Float[Tensor, "n k"]) -> Float[Tensor, "n d"]:
        """Features to be expected."""
        return self.offset + z @ self.weights


Decoders = Mapping[tuple[int, int], Decoder]
"""By source and target view."""


def decoders_of_rows(
    basis: JointBasis,
    lifts: Sequence[Lift],
    rows: Sequence[Float[Tensor, "n _"]],
    present: Sequence[Bool[Tensor, " n"] | None],
) -> Decoders:
    """Ridge regression of features on coordinates, over the rows that have both views."""
    views, k = range(len(rows)), len(basis.correlations)
    means = [mean_of_rows(x if mask is None else x[mask]) for x, mask in zip(rows, present, strict=True)]
    sums = {(u, v): _Regression.nothing(k, rows[v].shape[1]) for u, v in product(views, views)}
    for start in range(0, len(rows[0]), _ROWS):
        block = slice(start, start + _ROWS)
        codes = [basis.coordinates(v, lifts[v](rows[v][block])) for v in views]
        features = [rows[v][block].double() - means[v] for v in views]
        has = [torch.ones(len(codes[0]), dtype=torch.bool) if mask is None else mask[block] for mask in present]
        for (u, v), regression in sums.items():
            both = has[u] & has[v]
            whole = bool(both.all())
            regression.add(codes[u] if whole else codes[u][both], features[v] if whole else features[v][both])
    return {(u, v): regression.solved(means[v]) for (u, v), regression in sums.items()}


def decoders_of_moments(basis: JointBasis, moments: Moments, lifts: Sequence[LinearLift]) -> Decoders:
    """The same where lifts do no more than scale: covariances over the rows that have both views are all it needs.

    Args:
        basis: of the views.
        moments: of the lifted features.
        lifts: without a turn; a feature whose scale is 0 is constant.
    """
    found = {}
    for u, v in product(range(len(moments)), repeat=2):
        into = basis.weights[u]
        squares = into.T @ moments.covariance_beside(u, v) @ into
        weights = _ridge_solution(squares, into.T @ moments.covariance(u, v))
        offset = moments.mean_beside(v, u) - (moments.mean_beside(u, v) - basis.means[u]) @ into @ weights
        scales = lifts[v].scales
        if scales is not None:
            weights, offset = (torch.where(scales > 0, part / scales, 0.0) for part in (weights, offset))
            offset = offset + lifts[v].mean
        found[u, v] = Decoder(weights, offset)
    return found


@dataclass
class _Regression:
    """Sums of codes z and features f over rows."""

    count: int
    z: Float[Tensor, " k"]
    f: Float[Tensor, " d"]
    squares: Float[Tensor, "k k"]
    products: Float[Tensor, "k d"]

    @classmethod
    def nothing(cls, k: int, d: int) -> _Regression:
        z, f, squares, products = (torch.zeros(*size, dtype=torch.float64) for size in ((k,), (d,), (k, k), (k, d)))
        return cls(0, z, f, squares, products)

    def add(self, z: Tensor, f: Tensor) -> None:
        self.count += len(z)
        self.z += z.sum(0)
        self.f += f.sum(0)
        self.squares.addmm_(z.T, z)
        self.products.addmm_(z.T, f)

    def solved(self, mean: Tensor) -> Decoder:
        """Of features less ``mean``, which is added to the offset."""
        z, f = self.z / self.count, self.f / self.count
        squares = self.squares - self.count * torch.outer(z, z)
        weights = _ridge_solution(squares, self.products - self.count * torch.outer(z, f))
        return Decoder(weights, mean + f - z @ weights)


def _ridge_solution(squares: Tensor, products: Tensor) -> Float[Tensor, "k d"]:
    if not len(squares):
        return products
    ridge = _RIDGE * squares.diagonal().mean().clamp_min(torch.finfo(squares.dtype).tiny)
    return torch.linalg.solve(squares + ridge * torch.eye(len(squares), dtype=squares.dtype), products)

"""What a joint space is made of: directions with their correlations beside chance, and what each view puts in."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.choice import Choice
from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.shared_evidence import SharedEvidence

__all__ = ["Explanation", "explanation"]

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class Explanation:
    """Directions of a joint space, in the order of its spectrum.

    Attributes:
        correlations: of the views' coordinates in sample, mean over pairs of views, (k,).
        angles: arccos of them in radians, (k,): between the views' columns of coordinates, without ridge the principal
            angles between their sample spans.
        held_out: correlations on rows that a direction's basis has not seen, (m,), m ≤ k.
        chance: what holds 99 % of each held-out correlation if rows are shuffled: lower and upper ends, (2, m).
        edge: what the largest of all held-out correlations of shuffled rows stays below with 99 %.
        p_value: that shuffled rows agree as well as the true ones.
        weights: eigenvalues: what a coordinate counts in each view's unit vectors, (k,).
        variance: share of each view's (lifted) variance that a direction explains, (views, k); with a ridge directions
            overlap a little.
        features: what one standard deviation along a shared direction adds to each view's features, (s, d_v) each.
    """

    correlations: Float[Tensor, " k"]
    angles: Float[Tensor, " k"]
    held_out: Float[Tensor, " m"]
    chance: Float[Tensor, "2 m"]
    edge: float
    p_value: float
    weights: Float[Tensor, " k"]
    variance: Float[Tensor, "views k"]
    features: tuple[Float[Tensor, "s _"], ...]

    @property
    def shared(self) -> int:
        """Directions whose held-out correlation is above the edge: each of them is no chance, even of so many."""
        return int((self.held_out > self.edge).sum())

    def strongest_features(self, view: int, direction: int, count: int = 5) -> list[tuple[int, float]]:
        """Numbers of the features that a direction moves most, with by how much."""
        row = self.features[view][direction]
        best = row.abs().argsort(descending=True, stable=True)[:count].tolist()
        return [(number, float(row[number])) for number in best]

    def __str__(self) -> str:
        """A table of the leading directions."""
        if not len(self.correlations):
            return f"no shared direction: the views agree no more than shuffled ones (p = {self.p_value:.2g})"
        alone = "" if self.shared else "; what is shared is spread over many, or kept without regard to the test"
        lines = [
            f"{self.shared} of {len(self.held_out)} directions above chance: held-out correlation > {self.edge:.3f}",
            f"all directions together: p = {self.p_value:.2g}{alone}",
            "direction  correlation  held out  (99 % of chance)  angle (deg)  weight  variance of each view",
        ]
        for i in range(min(10, len(self.held_out))):
            shares = "  ".join(f"{100 * float(share):.1f} %" for share in self.variance[:, i])
            low, high = self.chance[:, i].tolist()
            lines.append(
                f"{i + 1:9d}  {float(self.correlations[i]):11.3f}  {float(self.held_out[i]):8.3f}  "
                f"({low:6.3f} to {high:5.3f})  "
                f"{float(self.angles[i].rad2deg()):11.1f}  {float(self.weights[i]):6.3f}  {shares}"
            )
        return "\n".join(lines)


def explanation(space: JointSpace, choice: Choice, evidence: SharedEvidence) -> Explanation:
    """Read a joint space beside the choice that it was joined by."""
    moments, weights = choice.moments, space.basis.weights
    covariances = [moments.covariance(view, view) for view in range(len(moments))]
    spreads = [_products(w, c, w).clamp_min(_TINY) for c, w in zip(covariances, weights, strict=True)]
    found = []
    for u, v in combinations(range(len(moments)), 2):
        own = _products(weights[u], moments.covariance_beside(u, v), weights[u])
        other = _products(weights[v], moments.covariance_beside(v, u), weights[v])
        both = _products(weights[u], moments.covariance(u, v), weights[v])
        found.append(both * own.clamp_min(_TINY).rsqrt() * other.clamp_min(_TINY).rsqrt())
    correlations = torch.stack(found).mean(0).clamp(-1.0, 1.0)  # but for rounding they are within
    shares = [
        (c @ w).square().sum(0) / spread / c.trace() for c, w, spread in zip(covariances, weights, spreads, strict=True)
    ]
    features = [
        (space.decoders[view, view].weights * spread.sqrt()[:, None])[: space.shared]
        for view, spread in enumerate(spreads)
    ]
    return Explanation(
        correlations=correlations,
        angles=correlations.arccos(),
        held_out=evidence.correlations[: len(correlations)],
        chance=evidence.chance[:, : len(correlations)],
        edge=evidence.edge,
        p_value=evidence.p_value,
        weights=space.weights,
        variance=torch.stack(shares),
        features=tuple(features),
    )


def _products(x: Tensor, covariance: Tensor, y: Tensor) -> Float[Tensor, " k"]:
    """x_iᵀ C y_i of each pair of columns."""
    return (x * (covariance @ y)).sum(0)

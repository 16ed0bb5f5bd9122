"""What a joint space is made of: directions with their correlations beside chance, and what each view puts in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.joint_space import JointSpace
from hyperspectral_geo.fusion.moments import Moments
from hyperspectral_geo.fusion.shared_evidence import SharedEvidence

__all__ = ["Explanation", "explanation"]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Directions of a joint space, the most correlated first.

    Attributes:
        correlations: in sample, as regularised, (k,).
        angles: arccos of them in radians, (k,): the principal angles between the views' (regularised) sample spans.
        held_out: correlations on rows that a direction's basis has not seen, (k',), k' ≤ k.
        edge: what the largest held-out correlation of shuffled rows stays below with 99 %.
        p_value: that shuffled rows agree as well as the true ones.
        weights: eigenvalues: what a coordinate counts in each view's unit vectors, (k,).
        variance: share of each view's (lifted) variance that a direction explains, (views, k); with a ridge directions
            overlap a little.
        features: what one standard deviation along a shared direction adds to each view's features, (s, d_v) each.
    """

    correlations: Float[Tensor, " k"]
    angles: Float[Tensor, " k"]
    held_out: Float[Tensor, " m"]
    edge: float
    p_value: float
    weights: Float[Tensor, " k"]
    variance: Float[Tensor, "views k"]
    features: tuple[Float[Tensor, "s _"], ...]

    @property
    def shared(self) -> int:
        """Directions whose held-out correlation is above the edge."""
        return int((self.held_out > self.edge).sum())

    def strongest_features(self, view: int, direction: int, count: int = 5) -> list[tuple[int, float]]:
        """Numbers of the features that a direction moves most, with by how much."""
        row = self.features[view][direction]
        best = row.abs().argsort(descending=True, stable=True)[:count].tolist()
        return [(number, float(row[number])) for number in best]

    def __str__(self) -> str:
        """A table of the leading directions."""
        if not len(self.correlations):
            return f"no shared direction (p = {self.p_value:.3f})"
        lines = [
            f"{self.shared} of {len(self.held_out)} directions above chance: held-out correlation > {self.edge:.3f}, "
            f"p = {self.p_value:.3f}",
            "direction  correlation  held out  angle (deg)  weight  variance of each view",
        ]
        for i in range(min(10, len(self.held_out))):
            shares = "  ".join(f"{100 * float(share):.1f} %" for share in self.variance[:, i])
            lines.append(
                f"{i + 1:9d}  {float(self.correlations[i]):11.3f}  {float(self.held_out[i]):8.3f}  "
                f"{float(self.angles[i].rad2deg()):11.1f}  {float(self.weights[i]):6.3f}  {shares}"
            )
        return "\n".join(lines)


def explanation(space: JointSpace, moments: Moments, evidence: SharedEvidence) -> Explanation:
    """Read a joint space beside the moments that it was joined from."""
    correlations = space.basis.correlations.clamp(0.0, 1.0)
    shares, features = [], []
    for view, weight in enumerate(space.basis.weights):
        covariance = moments.covariance(view, view)
        with_features = covariance @ weight
        spread = (weight * with_features).sum(0).clamp_min(torch.finfo(weight.dtype).tiny)
        shares.append(with_features.square().sum(0) / spread / covariance.trace())
        features.append((space.decoders[view, view] * spread.sqrt()[:, None])[: space.shared])
    return Explanation(
        correlations=correlations,
        angles=correlations.arccos(),
        held_out=evidence.correlations[: len(correlations)],
        edge=evidence.edge,
        p_value=evidence.p_value,
        weights=space.weights,
        variance=torch.stack(shares),
        features=tuple(features),
    )

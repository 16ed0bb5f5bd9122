"""Conditional logit: how much each feature of a link draws clicks, learned from clicks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.benchmarks.walk_clicks import Clicks, Judged, judged, log_totals

__all__ = ["ClickLogit", "Feature", "link_features"]

Feature = Callable[[Tensor, Tensor], Tensor]
"""(e,) links and (e,) targets of the walks they stand in → (e,) numbers."""

_MOST_CLICKS = 20_000  # that a logit is fitted to; with few weights more of them change nothing


@dataclass(frozen=True, eq=False)
class ClickLogit:
    """p(link | page, target) ∝ exp(Σ_j w_j·f_j(link, target)); made by ``fit``.

    Attributes:
        features: f_j, by name.
        weights: w_j, (f,).

    References:
        McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.
    """

    features: Mapping[str, Feature]
    weights: Float[Tensor, " f"]

    @classmethod
    def fit(cls, features: Mapping[str, Feature], clicks: Clicks, *, seed: int = 0) -> ClickLogit:
        """The weights under which the choices are likeliest, by L-BFGS; on 20,000 drawn clicks where there are more."""
        from scipy.optimize import minimize

        if not features:
            return cls({}, torch.zeros(0, dtype=torch.float64))
        drawn = torch.randperm(len(clicks), generator=torch.Generator().manual_seed(seed))[:_MOST_CLICKS]
        some = clicks.some(drawn.sort().values)
        table = link_features(features, some)
        size = table.std(0).clamp_min(1e-12)
        table = (table - table.mean(0)) / size
        click, _, at = some.links

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            scores = table @ torch.from_numpy(weights)
            totals = log_totals(some, scores)
            likely = (scores - totals[click]).exp()
            slope = table.T @ likely - table[at].sum(0)
            return float((totals - scores[at]).sum()) / len(some), slope.numpy() / len(some)

        found = minimize(loss, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B")
        return cls(features, torch.from_numpy(found.x) / size)

    def judged(self, clicks: Clicks) -> Judged:
        """Ranks and surprises of clicks."""
        return judged(clicks, link_features(self.features, clicks) @ self.weights)


def link_features(features: Mapping[str, Feature], clicks: Clicks) -> Float[Tensor, "e f"]:
    """All features of every link that could be chosen, float64."""
    click, link, _ = clicks.links
    target = clicks.target[click]
    columns: Sequence[Tensor] = [feature(link, target).double() for feature in features.values()]
    return torch.stack(columns, 1) if columns else torch.zeros(len(link), 0, dtype=torch.float64)

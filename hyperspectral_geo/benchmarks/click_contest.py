"""Who foresees the next click of people who were not learned from: hop models, conditioned or not, and their peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.benchmarks.click_logit import ClickLogit, Feature
from hyperspectral_geo.benchmarks.walk_clicks import Clicks, nearer_by_clicks
from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, HopRegression, fit, hop_scores
from hyperspectral_geo.hyperbolic.feedback.constraint_loss import ConstraintLoss

__all__ = ["CONTESTANTS", "ClickContest", "Foreseen", "interval", "page_features"]

_DEGREE = ("in", "out")
_PLAIN = (*_DEGREE, "hops", "count")

CONTESTANTS: Mapping[str, tuple[str, ...]] = {
    "uniform": (),
    "degree": _DEGREE,
    "TF-IDF cosine": ("tfidf",),
    "MiniLM cosine": ("minilm",),
    "hop count": ("count",),
    "hop model": ("hops",),
    "degree + hop count + hop model": _PLAIN,
    "degree + hop count + hop model + texts": (*_PLAIN, "tfidf", "minilm"),
    "conditioned model": ("conditioned",),
    "conditioned model + degree": (*_DEGREE, "conditioned"),
    "conditioned model + all of these": (*_PLAIN, "tfidf", "minilm", "conditioned"),
}
"""Features of each conditional logit."""


@dataclass(frozen=True, eq=False)
class Foreseen:
    """How clicks were foreseen by one contestant: 1/rank and surprise of each, and who made it."""

    reciprocal: Float[Tensor, " k"]
    surprise: Float[Tensor, " k"]
    player: Int[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class ClickContest:
    """What all contestants share.

    Attributes:
        features: what may be known of pairs (link, target) without any click, by name.
        base: the hop model that is conditioned.
        hops: of the graph, (n, n).
        steps: of the training that conditions it.
    """

    features: Mapping[str, Feature]
    base: HopEmbedding
    hops: Int[Tensor, "n n"]
    steps: int

    def conditioned(self, clicks: Clicks, *, trust: float, seed: int) -> HopEmbedding:
        """The base, trained further on hops and on what clicks say: four other links against each choice."""
        said = ConstraintLoss(nearer_by_clicks(clicks, each=4, seed=seed), conflicts="weigh", batch=2048)
        return fit(
            clicks.graph,
            dim=self.base.tangents.shape[1],
            geometry=self.base.geometry,
            start=self.base,
            objective=[(1.0, HopRegression(hops=self.hops)), (trust, said)],
            steps=self.steps,
            learning_rate=0.01,
            seed=seed,
        )

    def foreseen(self, train: Clicks, test: Clicks, model: HopEmbedding) -> dict[str, Foreseen]:
        """Test clicks by every contestant whose features are at hand; ``model`` learned from the training clicks."""
        known = {**self.features, "conditioned": distance_feature(model)}
        found = {}
        for name, features in CONTESTANTS.items():
            at_hand = {feature: known[feature] for feature in features if feature in known}
            if features and not at_hand:
                continue
            result = ClickLogit.fit(at_hand, train).judged(test)
            found[name] = Foreseen(result.reciprocal, result.surprise, test.player)
        return found

    def by_trust(self, clicks: Clicks, trusts: Sequence[float]) -> dict[float, tuple[float, float]]:
        """For each trust: mean 1/rank on the clicks of a fifth of the players, learned from the others; R² of hops."""
        train, test = clicks.split(0.2, seed=1)
        found = {}
        for trust in trusts:
            model = self.conditioned(train, trust=trust, seed=100)
            logit = ClickLogit.fit({"conditioned": distance_feature(model)}, train)
            mean = float(logit.judged(test).reciprocal.mean())
            found[trust] = mean, hop_scores(model, self.hops).r2
        return found


def page_features(
    graph: HopGraph, hops: Int[Tensor, "n n"], base: HopEmbedding, cosines: Mapping[str, Float[Tensor, "n n"]]
) -> dict[str, Feature]:
    """Log degrees of a link, and of link and target: hop count, the base model's distance, and cosines of texts."""
    degrees = {"out": graph.edges[:, 0], "in": graph.edges[:, 1]}
    found = {name: _of_link(ends.bincount(minlength=len(graph)).double().log1p()) for name, ends in degrees.items()}
    return (
        found
        | {"count": _of_pair(hops), "hops": distance_feature(base)}
        | {name: _of_pair(table) for name, table in cosines.items()}
    )


def distance_feature(model: HopEmbedding) -> Feature:
    """d(link→target) by a model."""
    return _of_pair(model.distances())


def interval(values: Float[Tensor, " k"], player: Int[Tensor, " k"], *, resamples: int = 1000) -> tuple[float, float]:
    """95 % interval of a mean over clicks, by drawing players with replacement: a player's clicks belong together."""
    distinct, number = torch.unique(player, return_inverse=True)
    sums = torch.zeros(len(distinct), 2, dtype=torch.float64)
    sums.index_add_(0, number, torch.stack([values.double(), torch.ones_like(values, dtype=torch.float64)], 1))
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(distinct), (resamples, len(distinct)), generator=generator)
    totals = torch.stack([draw.bincount(minlength=len(distinct)).double() @ sums for draw in draws])
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = (totals[:, 0] / totals[:, 1]).quantile(ends).tolist()
    return low, high


def _of_link(values: Tensor) -> Feature:
    return lambda link, target: values[link]


def _of_pair(table: Tensor) -> Feature:
    return lambda link, target: table[link, target]

"""Hops by regression: blocks of the table of hop counts, or single pairs where the table would be too large."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_pairs import Held, HopPairs, hop_pairs
from hyperspectral_geo.hyperbolic.hop_store import HopStore
from hyperspectral_geo.hyperbolic.landmarks import HopSamples
from hyperspectral_geo.hyperbolic.objective import Objective, PreparedObjective, require_counts, require_shares
from hyperspectral_geo.hyperbolic.pair_leaves import PairLeaves
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters

__all__ = ["HopRegression"]

_MOST_STEPS = 15
_USUAL_MEAN = 3.5  # hops; what rates and starts were chosen on
_NEAREST = 10.0  # h̄/h of the pairs that weigh most
_FASTEST = 3.0  # a row met in a share p of the steps goes as far as one of dense Adam if its steps are 1/√p longer
_LINKED = 1.5  # hops: nearer is a link; the first edge of an even staircase


@dataclass(frozen=True, eq=False)
class HopRegression(Objective):
    """Mean over pairs of ((1 − ρ) + ρ (h̄/h)²)(ŷ − h)² − λ log p, h the hop count, ŷ the model's distance.

    h̄ is the mean hop count. ρ = 0 is least squares in hops, ρ = 1 in relative error (ŷ/h − 1)², which cares for near
    pairs. p is the probability that the first step of the read-out gives to what is true, one hop or more:
    σ(β₁(θ₁ − x)) for a link and the rest for another pair, x the score. It costs regression little, and tells
    neighbours from near pages, which least squares alone leaves in one heap. Pairs without a walk, a concept and
    itself, and held-out pairs do not count. (h̄/h)² is at most 100.

    Counts of up to 16 hops get a read-out of as many steps. Lengths that are no whole numbers, and longer walks, get
    none, and no link term: they are trained in a unit of 2/7 of their mean, so that steps of training suit any scale.

    Attributes:
        hops: the (n, n) table, −1 or infinite where there is no walk; or a ``HopStore`` of the rows of some sources; or
            ``HopSamples``. By default all pairs of a graph of up to 20,000 nodes, and ``default_samples`` of a larger.
        relative: ρ, from 0 to 1.
        links: λ, weight of the link term, which needs whole counts and a read-out and does nothing without them.
        block: sources and targets a step; of a store as many pairs in 64 of its rows, of samples 32·``block`` pairs.
        held: pairs to keep away from training: a ``HeldOut``, or ``held(sources, targets)`` that gives (m, n).
    """

    moves_scores: ClassVar[bool] = True

    hops: Tensor | HopStore | HopSamples | None = None
    relative: int | float = 0.5
    links: int | float = 0.5
    block: int = 512
    held: Held | None = None

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        """Checks the numbers, and counts or samples hops where none are given."""
        require_counts(block=self.block)
        require_shares(relative=self.relative)
        if isinstance(self.links, bool) or not isinstance(self.links, int | float) or not 0 <= self.links < math.inf:
            raise ValueError(f"links: expected a finite number >= 0, got {self.links!r}")
        return _Prepared(self, hop_pairs(graph, self.hops, held=self.held, block=self.block))


class _Prepared(PreparedObjective):
    def __init__(self, objective: HopRegression, source: HopPairs) -> None:
        self.objective = objective
        self.source = source
        self.mean = source.mean

    def form(self, graph: HopGraph) -> dict[str, Any]:
        """Two points a concept on directed graphs, scalars that begin at the mean, and a staircase."""
        steps = max(1, math.ceil(self.source.longest) - 1)
        stairs = self.source.whole and steps <= _MOST_STEPS
        return {
            "spread": 0.3,
            "scale": 1.0,
            "unit": self.mean / _USUAL_MEAN,
            "two_points": graph.directed,
            "scalars": True,
            "center": self.mean,
            "steps": steps if stairs else 0,
            "learning_rate": 0.02 * min(_FASTEST, math.sqrt(len(graph) / min(len(graph), self.objective.block))),
        }

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        rows, columns, true, real, paired = self.source.draw(generator)
        leaves = PairLeaves(parameters, rows, columns, paired=paired)
        with torch.enable_grad():
            predicted, first = leaves.predicted(parameters)
            loss = self._loss(predicted, true, real, parameters.unit)
            if first is not None and self.source.whole and self.objective.links:
                loss = loss + self.objective.links * self._link_loss(first, true, real)
        loss.backward()
        self.pairs += true.numel()
        return float(loss.detach()), leaves.gradients(parameters)

    def _loss(self, predicted: Tensor, true: Tensor, real: Tensor, unit: float) -> Tensor:
        hops = true.to(predicted.dtype).masked_fill(~real, 1) / unit
        share = self.objective.relative
        weight = real * ((1 - share) + share * (self.mean / unit / hops).clamp_max(_NEAREST).square())
        return (weight * (predicted - hops).square()).sum() / real.sum().clamp_min(1)

    def _link_loss(self, first: Tensor, true: Tensor, real: Tensor) -> Tensor:
        beyond = (true > _LINKED).to(first.dtype)
        surprise = torch.nn.functional.binary_cross_entropy_with_logits(first, beyond, reduction="none")
        return (real * surprise).sum() / real.sum().clamp_min(1)

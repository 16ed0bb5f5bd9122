"""A simulated cycle: a model that does not know a fifth of the links is told hop counts, and asks for the next ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic import HopEmbedding, HopGraph, HopRegression, fit, hop_counts
from hyperspectral_geo.hyperbolic.feedback.constraint import AboutHops
from hyperspectral_geo.hyperbolic.feedback.questions import questions
from hyperspectral_geo.hyperbolic.feedback.refine import apply_feedback

__all__ = ["STRATEGIES", "Asked", "Cycle", "Errors"]

Pair = tuple[str, str]
Ask = Callable[[HopEmbedding, int, Sequence[Pair], int], list[Pair]]
"""(model, count, pairs asked before, seed) → the next pairs."""


@dataclass(frozen=True)
class Errors:
    """Mean |d̂/h − 1| over all pairs, and over those whose hop count the hidden links change."""

    everywhere: float
    changed: float


@dataclass(frozen=True)
class Asked:
    """Errors after each number of answers."""

    answers: tuple[int, ...]
    errors: tuple[Errors, ...]


@dataclass(frozen=True, eq=False)
class Cycle:
    """A model of a part of the links, and the truth.

    Attributes:
        model: of the graph without the hidden links.
        truth: hops with them, (n, n).
        changed: whether they change a pair's hops.
    """

    model: HopEmbedding
    truth: Int[Tensor, "n n"]
    changed: Bool[Tensor, "n n"]

    @classmethod
    def hiding(cls, graph: HopGraph, share: float, *, seed: int, steps: int) -> Cycle:
        """Train on the links that are left when a share of them is hidden; what they no longer join is not seen."""
        kept = torch.rand(len(graph.edges), generator=torch.Generator().manual_seed(seed)) >= share
        part = HopGraph.from_edges(graph.edges[kept], names=graph.names)
        truth, seen = hop_counts(graph), hop_counts(part)
        objective = HopRegression(hops=seen, block=256)
        model = fit(part, geometry="bilinear", forms=True, objective=objective, steps=steps, seed=seed)
        return cls(model, truth, truth != seen)

    def run(self, ask: Ask, counts: Sequence[int], *, seed: int) -> Asked:
        """Ask, answer by the true hops and apply, until each number of answers is reached."""
        model, pairs, errors = self.model, [], [self.errors(self.model)]
        for count in counts:
            pairs += ask(model, count - len(pairs), pairs, seed)
            model = self._told(pairs)
            errors.append(self.errors(model))
        return Asked((0, *counts), tuple(errors))

    def errors(self, model: HopEmbedding) -> Errors:
        """Those of a model."""
        off = (model.distances() / self.truth.clamp_min(1) - 1).abs()
        others = ~torch.eye(len(off), dtype=torch.bool)
        return Errors(float(off[others].mean()), float(off[others & self.changed].mean()))

    def _told(self, pairs: Sequence[Pair]) -> HopEmbedding:
        """The first model after all answers so far: measured hop counts, which may move more than their pair."""
        index = self.model.index
        answers = [AboutHops(a, b, int(self.truth[index(a), index(b)])) for a, b in pairs]
        return apply_feedback(self.model, answers, hold=0.1, sample=128, most_drift=float("inf")).model


def _random(model: HopEmbedding, count: int, before: Sequence[Pair], seed: int) -> list[Pair]:
    generator = torch.Generator().manual_seed(seed * 1000 + len(before))
    drawn = torch.randint(len(model), (4 * count + 8, 2), generator=generator).tolist()
    pairs = dict.fromkeys((model.names[a], model.names[b]) for a, b in drawn if a != b)
    return [pair for pair in pairs if pair not in set(before)][:count]


def _spread(model: HopEmbedding, count: int, before: Sequence[Pair], seed: int) -> list[Pair]:
    found = questions(model, count, by="spread", without=before, seed=seed)
    return [(one.source, one.target) for one in found]


def _remote(model: HopEmbedding, count: int, before: Sequence[Pair], seed: int) -> list[Pair]:
    found = questions(model, count, by="remote", without=before, seed=seed)
    return [(one.source, one.target) for one in found]


STRATEGIES: Mapping[str, Ask] = {"random pairs": _random, "least sure pairs": _spread, "remote targets": _remote}
"""How the next pairs are chosen."""

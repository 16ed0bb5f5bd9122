"""Hops by regression: blocks of the table of hop counts, every pair of some sources and some targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.geometry import pairwise_distance, points_from_tangents
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_counts
from hyperspectral_geo.hyperbolic.objective import (
    Objective,
    PreparedObjective,
    concept_gradients,
    require_counts,
    require_shares,
)
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters, summed_rows
from hyperspectral_geo.hyperbolic.readout import Staircase

__all__ = ["HopRegression"]

_MOST_STEPS = 8

Held = Callable[[Int[Tensor, " m"], Int[Tensor, " n"]], Bool[Tensor, "m n"]]


@dataclass(frozen=True, eq=False)
class HopRegression(Objective):
    """Mean over pairs of ((1 − ρ) + ρ (h̄/h)²)(ŷ − h)², h the hop count, h̄ its mean, ŷ the model's distance.

    ρ = 0 is least squares in hops, ρ = 1 in relative error (ŷ/h − 1)², which cares for near pairs. Pairs without a
    walk, a concept and itself, and held-out pairs do not count.

    Attributes:
        hops: the (n, n) table, −1 or infinite where there is no walk; by default computed from the graph.
        relative: ρ, from 0 to 1.
        block: sources and targets a step.
        held: ``held(sources, targets)`` says which pairs to keep away from training, (m, n).
    """

    moves_scores: ClassVar[bool] = True

    hops: Tensor | None = None
    relative: float = 0.5
    block: int = 512
    held: Held | None = None

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        """Checks the numbers, and counts hops where no table is given."""
        require_counts(block=self.block)
        require_shares(relative=self.relative)
        hops = hop_counts(graph) if self.hops is None else self.hops
        if not isinstance(hops, Tensor) or hops.shape != (len(graph), len(graph)):
            got = tuple(hops.shape) if isinstance(hops, Tensor) else type(hops).__name__
            raise ValueError(f"hops: expected a tensor of shape {(len(graph),) * 2}, got {got}")
        if self.held is not None and not callable(self.held):
            raise ValueError(f"held: expected a function of sources and targets, got {self.held!r:.80}")
        return _Prepared(self, hops)


class _Prepared(PreparedObjective):
    def __init__(self, objective: HopRegression, hops: Tensor) -> None:
        self.objective = objective
        self.hops = hops
        total = pairs = self.longest = 0.0
        for rows in torch.arange(len(hops)).split(1024):
            real = self._real(rows, torch.arange(len(hops)))
            counted = hops[rows][real].double()
            total += float(counted.sum())
            pairs += len(counted)
            self.longest = max(self.longest, float(counted.amax())) if len(counted) else self.longest
        if not pairs:
            raise ValueError("graph: expected pairs that a walk joins and that are not held out, got none")
        self.mean = total / pairs

    def form(self, graph: HopGraph) -> dict[str, Any]:
        """Two points a concept on directed graphs, scalars that begin at the mean, and a staircase."""
        steps = max(1, min(_MOST_STEPS, int(self.longest) - 1))
        return {
            "spread": 0.3,
            "scale": 1.0,
            "two_points": graph.directed,
            "scalars": True,
            "center": self.mean,
            "steps": steps,
            "learning_rate": 0.01,
        }

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        count = len(parameters)
        rows, columns = (torch.randperm(count, generator=generator)[: self.objective.block] for _ in range(2))
        true = self.hops[rows[:, None], columns]
        real = self._real(rows, columns, true)
        leaves = _Leaves(parameters, rows, columns)
        with torch.enable_grad():
            loss = self._loss(leaves.predicted(parameters), true, real)
        loss.backward()
        self.pairs += true.numel()
        return float(loss.detach()), leaves.gradients(parameters)

    def _loss(self, predicted: Tensor, true: Tensor, real: Tensor) -> Tensor:
        hops = true.to(predicted.dtype).masked_fill(~real, 1)
        share = self.objective.relative
        weight = real * ((1 - share) + share * (self.mean / hops).square())
        return (weight * (predicted - hops).square()).sum() / real.sum().clamp_min(1)

    def _real(self, rows: Tensor, columns: Tensor, true: Tensor | None = None) -> Tensor:
        """Pairs that count."""
        true = self.hops[rows[:, None], columns] if true is None else true
        real = (true > 0) & torch.isfinite(true)
        if self.objective.held is None:
            return real
        held = self.objective.held(rows, columns)
        if held.shape != real.shape or held.dtype != torch.bool:
            raise ValueError(
                f"held: expected booleans of shape {tuple(real.shape)}, got {held.dtype} of shape {tuple(held.shape)}"
            )
        return real & ~held


class _Leaves:
    """The rows of a block as leaves of autograd."""

    def __init__(self, parameters: HopParameters, rows: Tensor, columns: Tensor) -> None:
        tables = parameters.tables
        self.rows, self.columns = rows, columns
        self.leaving = tables["tangents"][rows].requires_grad_()
        self.reached = tables.get("targets", tables["tangents"])[columns].requires_grad_()
        ends = {"outgoing": rows, "incoming": columns}
        self.scalars = {name: tables[name][at].requires_grad_() for name, at in ends.items() if name in tables}
        self.shared = {name: tensor.clone().requires_grad_() for name, tensor in parameters.shared.items()}

    def predicted(self, parameters: HopParameters) -> Float[Tensor, "m n"]:
        x, y = (points_from_tangents(z, parameters.geometry) for z in (self.leaving, self.reached))
        score = self.shared["log_scale"].exp() * pairwise_distance(x, y, parameters.geometry)
        if "outgoing" in self.scalars:
            score = score + self.scalars["outgoing"][:, None] + self.scalars["incoming"]
        return Staircase(self.shared["thresholds"], self.shared["log_slopes"])(score) if parameters.read else score

    def gradients(self, parameters: HopParameters) -> dict[str, Gradient]:
        assert self.leaving.grad is not None
        assert self.reached.grad is not None
        found = concept_gradients(
            parameters, self.rows, self.columns, tangents=self.leaving.grad, targets=self.reached.grad
        )
        for name, at in (("outgoing", self.rows), ("incoming", self.columns)):
            leaf = self.scalars.get(name)
            if leaf is not None and leaf.grad is not None:
                found[name] = summed_rows(at, leaf.grad)
        return found | {n: Gradient(None, leaf.grad) for n, leaf in self.shared.items() if leaf.grad is not None}

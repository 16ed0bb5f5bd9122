"""AdaMerging: one coefficient a module and weight, learned from the entropy of unlabelled answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperspectral_geo.merging.delta import LowRank
from hyperspectral_geo.merging.descent import Objective, Problem, with_parameters
from hyperspectral_geo.merging.grams import evaluating
from hyperspectral_geo.merging.merge import merge
from hyperspectral_geo.merging.module import Module

__all__ = ["Coefficients", "adamerging", "coefficients"]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Σ_t (start + p_t) ΔW_t of one weight, the factors side by side; see ``Movable``.

    Attributes:
        lefts: (m, K), the modules' left factors. vh: (K, n), their right ones. owner: (K,) module of each column.
        start: the coefficient at p = 0. count: number of modules T.
    """

    lefts: Float[Tensor, "m k"]
    vh: Float[Tensor, "k n"]
    owner: Int[Tensor, " k"]
    start: float
    count: int

    def origin(self) -> Float[Tensor, " t"]:
        """Zeros, one a module."""
        return self.lefts.new_zeros(self.count)

    def left(self, p: Float[Tensor, " t"]) -> Float[Tensor, "m k"]:
        """The left factors times their coefficients."""
        return self.lefts * (self.start + p)[self.owner]


def coefficients(modules: Sequence[Module], *, start: float) -> dict[str, Coefficients]:
    """For each weight, the modules' updates with a coefficient each."""
    found = {}
    for name in dict.fromkeys(n for m in modules for n in m.deltas):
        present = [(t, d) for t, m in enumerate(modules) if (d := m.deltas.get(name)) is not None]
        factors = [(t, d if isinstance(d, LowRank) else LowRank(d.dense(), _eye(d.dense()))) for t, d in present]
        found[name] = Coefficients(
            torch.cat([f.left for _, f in factors], 1),
            torch.cat([f.right for _, f in factors], 0),
            torch.cat([torch.full((f.rank,), t, dtype=torch.int64) for t, f in factors]),
            start,
            len(modules),
        )
    return found


def adamerging(
    network: nn.Module,
    modules: Sequence[Module],
    batches: Sequence[Any],
    objective: Objective,
    *,
    start: float = 0.3,
    learning_rate: float = 1e-3,
    steps: int = 500,
    batches_per_step: int | None = None,
) -> Module:
    """Layer-wise AdaMerging (Yang et al. 2024, arXiv:2310.02575): ΔW = Σ_t λ_t ΔW_t, λ by gradient on the entropy.

    As published: one λ a module and weight, all from ``start``, Adam with ``learning_rate`` for ``steps`` steps on
    ``objectives.entropy``; nothing is held out, so the inputs should be many.

    Args:
        network: the base model, run in evaluation mode and left in its own; its parameters are not changed.
        modules: one a task.
        batches: what ``objective`` takes.
        batches_per_step: how many a step sums over, in turn; None for all.
        objective: a loss of a batch; the published one is the entropy.

    Raises:
        ValueError: for no batches, options out of range, or a module that does not fit the network.
    """
    if len(batches) == 0:
        raise ValueError("batches: expected at least one, got none")
    if steps < 1 or not 0 < learning_rate < math.inf:
        raise ValueError(f"steps, learning_rate: expected positive numbers, got {steps} and {learning_rate}")
    anchor = merge(modules, method="linear", scale=start)
    problem = Problem(network, anchor, coefficients(modules, start=start), objective)
    with evaluating(network):
        *_, p = problem.descend(batches, learning_rate, steps, batches_per_step=batches_per_step)
    return with_parameters(anchor, problem.found, p)


def _eye(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)

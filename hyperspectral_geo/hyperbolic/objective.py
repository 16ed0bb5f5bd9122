"""What training minimises: a loss that gives its value and its gradient for one step's sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters, summed_rows

__all__ = ["Objective", "PreparedObjective", "concept_gradients", "require_counts", "require_shares"]


class PreparedObjective(ABC):
    """An objective on one graph. What a step draws comes from the generator alone, not from the steps before it.

    Attributes:
        pairs: how many pairs of concepts it has measured since it was made.
        needs_start: whether it refers to where a start has its concepts.
    """

    pairs: int = 0
    needs_start: bool = False

    @abstractmethod
    def form(self, graph: HopGraph) -> dict[str, Any]:
        """The model that the objective is made for: arguments of ``HopParameters.initial``, and a learning rate."""

    def begin(self, parameters: HopParameters) -> Tensor | None:
        """Called once, before the first step; returns the numbers of concepts whose rows stay as they now are."""
        return None

    @abstractmethod
    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        """Loss of a fresh sample, and the gradients of all tensors that it moves."""


class Objective(ABC):
    """A loss with its numbers; ``prepare`` brings it to a graph.

    Attributes:
        moves_scores: whether it trains scalars, scale and read-out, and not points alone.
    """

    moves_scores: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, graph: HopGraph) -> PreparedObjective:
        """Raises ``ValueError`` for numbers out of range or a graph that cannot be trained on."""


def concept_gradients(
    parameters: HopParameters, left: Tensor, right: Tensor, *, tangents: Tensor, targets: Tensor
) -> dict[str, Gradient]:
    """Gradients of the tables of points from those of the rows that leave and the rows that are reached."""
    if "targets" in parameters.tables:
        return {"tangents": summed_rows(left, tangents), "targets": summed_rows(right, targets)}
    return {"tangents": summed_rows(torch.cat([left, right]), torch.cat([tangents, targets]))}


def require_counts(**counts: object) -> None:
    """Raise ``ValueError`` unless each is a whole number of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number >= 1, got {value!r}")


def require_shares(**shares: object) -> None:
    """Raise ``ValueError`` unless each is a number from 0 to 1."""
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a share from 0 to 1, got {value!r}")

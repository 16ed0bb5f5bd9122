"""Weights of concepts by how near they are to a concept that is asked for, in whatever knows distances of names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["NameDistance", "concept_weights"]


@runtime_checkable
class NameDistance(Protocol):
    """Anything with a distance between names, such as a hop embedding or counted hops."""

    def distance(self, first: str, second: str, /) -> float | Tensor:
        """How far the second is from the first, ≥ 0; infinite if it cannot be reached."""
        ...


def concept_weights(
    distances: NameDistance, query: str, names: Sequence[str], *, temperature: float = 1.0
) -> Float[Tensor, " k"]:
    """w_i = softmax(−d(query, name_i)/τ): the nearer a concept, the more it counts.

    Args:
        distances: an object with ``distance(name, name)``, in any unit, for example hops.
        query: the concept that is asked for.
        names: of the k ≥ 1 concepts there are.
        temperature: τ > 0, in the unit of the distance: a concept that is τ farther counts 1/e as much.

    Returns:
        Weights, float64, (k,), that sum to one; a concept at infinite distance has 0.

    Raises:
        ValueError: for no names, τ ≤ 0, a distance that is negative or NaN, or a query that is infinitely far from all.

    Example:
        >>> class Steps:
        ...     def distance(self, a, b):
        ...         return abs(len(a) - len(b))
        >>> concept_weights(Steps(), "cat", ["dog", "lion"], temperature=1.0)
        tensor([0.7311, 0.2689], dtype=torch.float64)
    """
    if not names or isinstance(names, str):
        raise ValueError(f"names: expected a list of one or more, got {names!r}")
    if not isinstance(temperature, Real) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature: expected a number > 0, got {temperature!r}; 1 is one hop")
    found = torch.tensor([float(distances.distance(query, name)) for name in names], dtype=torch.float64)
    if bool((found.isnan() | (found < 0)).any()):
        worst = names[int((found.isnan() | (found < 0)).nonzero()[0])]
        raise ValueError(f"distances: expected numbers >= 0, got another from {query!r} to {worst!r}; check the object")
    nearest = found.min()
    if bool(nearest.isinf()):
        raise ValueError(f"query: expected a concept that some are near to, got {query!r}, infinitely far from all")
    return torch.softmax(-(found - nearest) / temperature, 0)

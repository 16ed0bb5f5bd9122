"""Which concept a prediction used, and which of its directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.concepts.concept_module import ConceptModule

__all__ = ["ConceptUse", "concept_use"]


@dataclass(frozen=True)
class ConceptUse:
    """Which concept a prediction used, and which of its directions.

    The log density of the concept is −½(distance − Σ explained) + volume, exactly; ``explained`` is what the directions
    forgive of the squared distance from the concept's mean.

    Attributes:
        label: the class predicted.
        concept: name of its concept.
        runner_up: name of the second best, empty if there is only one.
        margin: how far the decision is from the runner-up's, in nats.
        distance: ‖z − m‖²/σ².
        volume: −½ (n log σ² + Σ log(1 + κλᵢ/σ²)).
        explained: (p,), gᵢaᵢ²/σ² of every direction of the concept.
        directions: numbers of the directions that explain most, most first.
    """

    label: Any
    concept: str
    runner_up: str
    margin: float
    distance: float
    volume: float
    explained: Float[Tensor, " p"]
    directions: tuple[int, ...]


def concept_use(
    z: Float[Tensor, " n"],
    concepts: Sequence[ConceptModule],
    decisions: Float[Tensor, " c"],
    *,
    label: Any,
    spread: float,
    top: int,
) -> ConceptUse:
    """Take apart the density of one sample z under the best of one or two concepts, best first.

    >>> e = torch.eye(3, dtype=torch.float64)
    >>> cat = ConceptModule("cat", e[2], e[:, :2], 3 * e[0, :1].expand(2), 1.0, 9)
    >>> use = concept_use(2 * e[0] + e[2], [cat], e[0, :1], label="cat", spread=1.0, top=1)
    >>> use.concept, use.directions, use.distance, use.explained
    ('cat', (0,), 4.0, tensor([3., 0.], dtype=torch.float64))
    """
    concept = concepts[0]
    distances, squares = concept.deviations(z[None])
    gains = concept.gains(spread=spread)
    explained = squares[0] * gains / concept.noise
    return ConceptUse(
        label=label,
        concept=concept.name,
        runner_up=concepts[1].name if len(concepts) > 1 else "",
        margin=(decisions[0] - decisions[1]).item() if len(concepts) > 1 else math.inf,
        distance=distances.item() / concept.noise,
        volume=-0.5 * (concept.width * math.log(concept.noise) - torch.log1p(-gains).sum().item()),
        explained=explained,
        directions=tuple(explained.argsort(descending=True)[:top].tolist()),
    )

"""Direction by containment: every concept spans a cone that holds what it is an ancestor of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.hyperbolic.geometry import points_from_tangents
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.objective import Objective, PreparedObjective, require_counts
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters, summed_rows

__all__ = ["EntailmentCones", "cone_aperture", "cone_excess", "exterior_angle"]


@dataclass(frozen=True)
class EntailmentCones(Objective):
    """Mean over links u→v of E(v, u), and of max(0, γ − E(v', u')) over pairs that are no links.

    E(v, u) = max(0, ext(v, u) − aper(v)) says how far u lies outside v's cone (Ganea, Bécigneul and Hofmann 2018,
    arXiv:1804.01882; on the hyperboloid Le et al. 2019, arXiv:1902.00913). A link is read from the special to the
    general, as in WordNet's closure. Points start out of the origin, where cones are whole half-spaces.

    Attributes:
        batch: links a step.
        negatives: pairs a link that are not linked, half with another ancestor, half with another descendant.
        margin: γ in radians.
        width: K; aper(x) = arcsin(2K/|x|), x the space-like part.
    """

    batch: int = 256
    negatives: int = 10
    margin: float = 0.1
    width: float = 0.1

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        """Checks the numbers."""
        require_counts(batch=self.batch, negatives=self.negatives)
        for name in ("margin", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a finite number > 0, got {value!r}")
        if len(graph.edges) == 0:
            raise ValueError("graph: expected at least one link, got none; pass edges between different nodes")
        return _Prepared(self, graph)


class _Prepared(PreparedObjective):
    def __init__(self, objective: EntailmentCones, graph: HopGraph) -> None:
        self.objective, self.graph = objective, graph

    def form(self, graph: HopGraph) -> dict[str, Any]:
        """One point a concept in float64, spread widely enough to have cones."""
        return {"spread": 0.3, "scale": 1.0, "dtype": torch.float64, "learning_rate": 0.02}

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        if parameters.geometry != "hyperbolic":
            raise ValueError(f"geometry: entailment cones need 'hyperbolic', got {parameters.geometry!r}")
        below, above, linked = self._pairs(len(parameters), generator)
        nodes, where = torch.unique(torch.cat([below, above]), return_inverse=True)
        with torch.enable_grad():
            leaf = parameters.tables["tangents"][nodes].requires_grad_()
            points = points_from_tangents(leaf, "hyperbolic")
            excess = cone_excess(points[where[len(below) :]], points[where[: len(below)]], width=self.objective.width)
            outside = excess.clamp_min(0)
            energy = torch.where(linked, outside, (self.objective.margin - outside).clamp_min(0))
            loss = energy[linked].mean() + energy[~linked].sum() / max(1, int((~linked).sum()))
        loss.backward()
        self.pairs += len(below)
        assert leaf.grad is not None
        return float(loss.detach()), {"tangents": summed_rows(nodes, leaf.grad)}

    def _pairs(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Links of the batch and pairs that are none: (below, above, whether linked)."""
        edges, wanted = self.graph.edges, self.objective.batch
        links = edges[torch.randint(len(edges), (min(wanted, len(edges)),), generator=generator)]
        repeated = links.repeat_interleave(self.objective.negatives, 0)
        other = torch.randint(count, (len(repeated),), generator=generator)
        swap = torch.rand(len(repeated), generator=generator) < 0.5
        below, above = torch.where(swap, other, repeated[:, 0]), torch.where(swap, repeated[:, 1], other)
        apart = ~self.graph.has_links(below, above) & (below != above)
        below, above = torch.cat([links[:, 0], below[apart]]), torch.cat([links[:, 1], above[apart]])
        return below, above, torch.arange(len(below)) < len(links)


def cone_aperture(x: Float[Tensor, "*n c"], *, width: float = 0.1) -> Float[Tensor, "*n"]:
    """aper(x) = arcsin(2K/|x|), half the angle of the cone at x in radians; π/2 near the origin.

    Args:
        x: Lorentz coordinates, time-like first; |x| is the norm of the space-like part.
        width: K.
    """
    norm = torch.linalg.vector_norm(x[..., 1:], dim=-1)
    return torch.asin((2 * width / norm.clamp_min(1e-12)).clamp_max(1 - 1e-7))


def exterior_angle(x: Float[Tensor, "*n c"], y: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
    """The angle at x between the ray from the origin, continued, and the geodesic to y, in radians.

    ext(x, y) = π − ∠0xy; 0 where y lies straight behind x.
    """
    cosh = (x[..., 0] * y[..., 0] - (x[..., 1:] * y[..., 1:]).sum(-1)).clamp_min(1 + 1e-12)
    norm = torch.linalg.vector_norm(x[..., 1:], dim=-1).clamp_min(1e-12)
    cosine = (y[..., 0] - x[..., 0] * cosh) / (norm * (cosh.square() - 1).sqrt())
    return torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))


def cone_excess(x: Float[Tensor, "*n c"], y: Float[Tensor, "*n c"], *, width: float = 0.1) -> Float[Tensor, "*n"]:
    """ext(x, y) − aper(x): positive where y lies outside the cone of x."""
    return exterior_angle(x, y) - cone_aperture(x, width=width)

"""Typed links as an objective: a step draws questions, all their tails, and entities that are none."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.data.knowledge_graph import KnowledgeGraph
from hyperspectral_geo.hyperbolic.geometry import points_from_tangents
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.objective import PreparedObjective
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters
from hyperspectral_geo.hyperbolic.relational.link_loss import link_loss, squared_distance
from hyperspectral_geo.hyperbolic.relational.queries import RELATION_TABLES, query_points
from hyperspectral_geo.hyperbolic.relational.tail_lists import TailLists

__all__ = ["TypedLinks"]

_NEVER = -1e30  # the score of what is no candidate


class _Drawn(NamedTuple):
    """One step's sample: ``heads``, ``tails``, ``others`` are places in ``entities``; ``loops`` says which heads are
    tails of their own."""

    entities: Tensor
    relations: Tensor
    heads: Tensor
    rows: Tensor
    tails: Tensor
    others: Tensor
    loops: Tensor
    masked: tuple[Tensor, Tensor]


class TypedLinks(PreparedObjective):
    """Softmax of each tail against the head itself and shared candidates without true tails (see ``link_loss``).

    Args:
        kg: whose training triples are learned, and their inverses.
        scale: of squared distances.
        questions: pairs (head, relation) a step, drawn evenly, each with all its tails.
        negatives: entities a step; all where there are no more.
        weighted: whether the sample of negatives stands for all entities, or for itself alone.
        dropout: share of a head's coordinates that is set to zero, the others scaled up.
        decay: weight of the squared lengths of the tangents that a step meets.
        features: of the entities, (n, f); a learned linear map of them, ``map`` (f, d), is added to the tangents.
    """

    def __init__(
        self,
        kg: KnowledgeGraph,
        *,
        scale: float,
        questions: int,
        negatives: int,
        weighted: bool,
        dropout: float,
        decay: float,
        features: Float[Tensor, "n f"] | None = None,
    ) -> None:
        self.lists = TailLists(kg, kg.train)
        self.count = len(kg.entities)
        self.scale, self.questions, self.dropout, self.decay = scale, questions, dropout, decay
        self.weighted = weighted
        self.negatives = min(negatives, self.count)
        self.features = features
        self._place = torch.full((self.count,), -1)

    def form(self, graph: HopGraph) -> dict[str, Any]:
        """Nothing: the parameters are made by ``fit_relations``."""
        return {}

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        """Mean loss of the tails of some questions."""
        drawn = self._draw(generator)
        geometry = parameters.geometry
        tables = {name: parameters.tables[name][drawn.entities] for name in ("tangents", "biases")}
        leaves = {name: t.detach().requires_grad_() for name, t in (tables | dict(parameters.shared)).items()}
        with torch.enable_grad():
            tangents = leaves["tangents"]
            if self.features is not None:
                tangents = tangents + self.features[drawn.entities] @ leaves["map"]
            points = points_from_tangents(tangents, geometry)
            heads = self._dropped(tangents[drawn.heads], generator)
            relations = {name: leaves[name] for name in RELATION_TABLES}
            queries = query_points(heads, relations, geometry, drawn.relations)
            biases = leaves["biases"]
            distance = squared_distance(queries[drawn.rows], points[drawn.tails], geometry)
            to_itself = squared_distance(queries, points[drawn.heads], geometry)
            loss = link_loss(
                queries,
                points[drawn.others],
                biases[drawn.others],
                (biases[drawn.heads] - self.scale * to_itself).masked_fill(drawn.loops, _NEVER),
                drawn.rows,
                biases[drawn.tails] - self.scale * distance,
                drawn.masked,
                geometry=geometry,
                scale=self.scale,
                share=len(drawn.others) / self.count if self.weighted else 1.0,
            ) / len(drawn.rows)
            if self.decay:
                lengths = tangents[drawn.tails].square().sum() + tangents[drawn.heads].square().sum()
                loss = loss + self.decay * lengths / len(drawn.rows)
        loss.backward()
        self.pairs += len(drawn.heads) * len(drawn.others) + len(drawn.rows)
        entities = {name: drawn.entities.clone() for name in tables}  # what processes tell each other shares no memory
        return float(loss.detach()), {
            name: Gradient(entities.get(name), leaf.grad) for name, leaf in leaves.items() if leaf.grad is not None
        }

    def _draw(self, generator: torch.Generator) -> _Drawn:
        asked = torch.randint(len(self.lists), (min(self.questions, len(self.lists)),), generator=generator)
        rows, tails = self.lists.at(asked)
        others = torch.arange(self.count)
        if self.negatives < self.count:
            others = torch.randint(self.count, (self.negatives,), generator=generator).unique()
        heads = self.lists.heads[asked]
        place = self._place
        place[others] = torch.arange(len(others))
        # of the table of candidates neither the tails count nor the head, which is a candidate apart
        masked_rows, order = torch.cat([rows, torch.arange(len(asked))]).sort(stable=True)
        column = place[torch.cat([tails, heads])[order]]
        masked = masked_rows[column >= 0], column[column >= 0]
        place[others] = -1
        loops = torch.zeros(len(asked), dtype=torch.bool)
        loops[rows[tails == heads[rows]]] = True
        entities = torch.cat([heads, tails, others]).unique()
        place[entities] = torch.arange(len(entities))
        heads, tails, others = (place[part] for part in (heads, tails, others))
        place[entities] = -1
        return _Drawn(entities, self.lists.relations[asked], heads, rows, tails, others, loops, masked)

    def _dropped(self, tangents: Tensor, generator: torch.Generator) -> Tensor:
        if not self.dropout:
            return tangents
        kept = torch.rand(tangents.shape, generator=generator, dtype=tangents.dtype) >= self.dropout
        return tangents * kept / (1 - self.dropout)

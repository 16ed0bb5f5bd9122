"""What people say as a part of the loss that training minimises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint, Link, Pin
from hyperspectral_geo.hyperbolic.feedback.constraint_file import require_known
from hyperspectral_geo.hyperbolic.feedback.contradictions import Conflicts, require_consistent
from hyperspectral_geo.hyperbolic.feedback.terms import Terms, graph_reference, mean_length, terms_of
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.objective import Objective, PreparedObjective, require_counts
from hyperspectral_geo.hyperbolic.pair_leaves import PairLeaves
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters

__all__ = ["ConstraintLoss", "put_at"]

_FARTHEST = 30.0  # hyperbolic radius of a pin; in float32 the product of two such points' coordinates is still finite


@dataclass(frozen=True, eq=False)
class ConstraintLoss(Objective):
    """Mean over statements of strength × penalty, the strengths relative to their mean.

    With d the model's distance in hops and r the hop count of the graph: closer max(0, d − max(1, r − 1))², farther
    max(0, r + 1 − d)², about h hops (d/h − 1)², nearer log(1 + exp((d_near − d_far + m)/τ)), and for each ordered pair
    of a group of h hops max(0, d − h)². Where links have lengths, their mean takes the place of one hop. It is used
    beside a loss that knows the graph, with a weight that says how far people are trusted:

        fit(graph, objective=[(1.0, HopRegression()), (trust, ConstraintLoss(constraints))])

    Pinned concepts do not move at all. Links have no loss: they belong into the graph, by ``reweighted``.

    Attributes:
        constraints: what is said, at least one statement.
        margin: m, hops by which near is to be nearer than far.
        temperature: τ, hops over which a statement goes from doubted to met.
        batch: pairs and triplets a step, each; all where there are no more.
        conflicts: whether contradictory statements are refused, or enter with their strengths, "weigh".

    References:
        Triplets in logistic form: van der Maaten and Weinberger, "Stochastic triplet embedding", MLSP 2012.

    Example:
        >>> from hyperspectral_geo.hyperbolic import HopRegression, fit
        >>> from hyperspectral_geo.hyperbolic.feedback.constraint import AboutHops
        >>> graph = HopGraph.from_edges([("beer", "hops"), ("hops", "yeast"), ("yeast", "beer")])
        >>> said = ConstraintLoss([AboutHops("beer", "yeast", 1)])
        >>> model = fit(graph, dim=2, steps=300, objective=[(1.0, HopRegression()), (5.0, said)])
        >>> model.distance("beer", "yeast") < 1.2
        True
    """

    moves_scores: ClassVar[bool] = True

    constraints: Sequence[Constraint]
    margin: int | float = 0.0
    temperature: int | float = 0.5
    batch: int = 4096
    conflicts: Conflicts = "refuse"

    def prepare(self, graph: HopGraph) -> PreparedObjective:
        """Checks numbers, names and contradictions, and counts hops from the sources of closer and farther pairs.

        Raises:
            ValueError: for what is out of range; unknown concepts, with similar ones; contradictions, naming the
                entries; links that the graph does not have as they are said to be.
        """
        require_counts(batch=self.batch)
        for name, least in (("margin", 0.0), ("temperature", 1e-6)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number of hops >= {least:g}, got {value!r}")
        said = list(self.constraints)
        if not said or not all(isinstance(one, Constraint) for one in said):
            raise ValueError(f"constraints: expected at least one statement, got {self.constraints!r:.80}")
        require_known(said, graph.names)
        number = {name: i for i, name in enumerate(graph.names)}
        _require_links(said, graph, number)
        measure = graph_reference(graph)

        def reference(source: str, target: str) -> float:
            return float(measure(torch.tensor([number[source]]), torch.tensor([number[target]])))

        step = mean_length(graph)
        require_consistent(said, conflicts=self.conflicts, reference=reference, step=step, directed=graph.directed)
        pins = {number[one.name]: one.point for one in said if isinstance(one, Pin)}
        terms = terms_of(said, number.__getitem__, measure, step=step)
        return _Prepared(self, terms, pins)


class _Prepared(PreparedObjective):
    def __init__(
        self, objective: ConstraintLoss, terms: Terms, pins: dict[int, tuple[int | float, ...] | None]
    ) -> None:
        self.objective, self.terms, self.pins = objective, terms, pins
        self.needs_start = None in pins.values()

    def form(self, graph: HopGraph) -> dict[str, Any]:
        """Two points a concept on directed graphs, and scalars."""
        return {
            "spread": 0.3,
            "scale": 1.0,
            "two_points": graph.directed,
            "scalars": True,
            "center": 3.5,
            "learning_rate": 0.02,
        }

    def begin(self, parameters: HopParameters) -> Tensor | None:
        """Puts pinned concepts where they belong; they are the rows that stay."""
        for row, point in self.pins.items():
            if point is not None:
                put_at(parameters, row, point)
        return torch.tensor(sorted(self.pins)) if self.pins else None

    def step(self, parameters: HopParameters, generator: torch.Generator) -> tuple[float, dict[str, Gradient]]:
        pairs, triplets = self.terms.pairs, self.terms.triplets
        count = len(pairs) + len(triplets)
        if not count:
            return 0.0, {}
        pairs = pairs.some(_drawn(len(pairs), self.objective.batch, generator))
        triplets = triplets.some(_drawn(len(triplets), self.objective.batch, generator))
        sources = torch.cat([pairs.sources, triplets.near[:, 0], triplets.far[:, 0]])
        targets = torch.cat([pairs.targets, triplets.near[:, 1], triplets.far[:, 1]])
        leaves = PairLeaves(parameters, sources, targets, paired=True)
        with torch.enable_grad():
            hops = leaves.predicted(parameters)[0] * parameters.unit
            alone, near, far = hops.split([len(pairs), len(triplets), len(triplets)])
            ordered = triplets.penalties(
                near, far, margin=self.objective.margin, temperature=self.objective.temperature
            )
            loss = hops.new_zeros(())
            for part, whole in ((pairs.penalties(alone), self.terms.pairs), (ordered, self.terms.triplets)):
                if len(part):
                    loss = loss + part.mean() * (len(whole) / count)
        loss.backward()
        self.pairs += len(sources)
        return float(loss.detach()), leaves.gradients(parameters)


def put_at(parameters: HopParameters, row: int, point: Sequence[int | float]) -> None:
    """Write the tangents of a pinned concept.

    Raises:
        ValueError: for another number of coordinates, or a point of a curved space too far out to be computed with.
    """
    tables = [parameters.tables[name] for name in ("tangents", "targets") if name in parameters.tables]
    dim = tables[0].shape[1]
    if len(point) not in (dim, dim * len(tables)):
        wanted = f"{dim}" if len(tables) == 1 else f"{dim} or {2 * dim}"
        raise ValueError(f"point: expected {wanted} coordinates in a model of {dim} dimensions, got {len(point)}")
    for table, start in zip(tables, range(0, len(point), dim), strict=False):
        length = math.hypot(*point[start : start + dim])
        if parameters.geometry in ("hyperbolic", "product") and length > _FARTHEST:
            raise ValueError(
                f"point: expected a tangent of length at most {_FARTHEST:g} in {parameters.geometry} geometry, got "
                f"{length:.4g}"
            )
        table[row] = torch.tensor(point[start : start + dim], dtype=table.dtype)


def _drawn(count: int, batch: int, generator: torch.Generator) -> Tensor:
    return torch.arange(count) if count <= batch else torch.randint(count, (batch,), generator=generator)


def _require_links(said: Sequence[Constraint], graph: HopGraph, number: dict[str, int]) -> None:
    """Refuse links that are in the statements but not in the graph."""
    links = {one.concepts: one for one in said if isinstance(one, Link)}
    if not links:
        return
    lengths = torch.ones(len(graph.edges)) if graph.lengths is None else graph.lengths
    found = {(a, b): x for (a, b), x in zip(graph.edges.tolist(), lengths.tolist(), strict=True)}
    for one in links.values():
        got = found.get((number[one.source], number[one.target]))
        if got != one.length:
            had = "no such link" if got is None else f"the length {got:g}"
            raise ValueError(f"graph: expected it as {one} says, got {had}; train on reweighted(graph, constraints)")

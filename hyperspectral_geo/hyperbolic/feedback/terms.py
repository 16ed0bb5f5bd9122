"""Statements as tensors: bounds on distances of pairs, and pairs of which one is to be nearer than another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.feedback.constraint import (
    AboutHops,
    Closer,
    Constraint,
    Farther,
    Group,
    Nearer,
    PairConstraint,
)
from hyperspectral_geo.hyperbolic.graph import HopGraph
from hyperspectral_geo.hyperbolic.hop_counts import hop_count_blocks

__all__ = ["PairTerms", "Terms", "TripletTerms", "graph_reference", "mean_length", "terms_of"]

MOST_GROUP_PAIRS = 10_000
"""Pairs of a group that are looked at; of a larger one they are drawn."""

_BLOCK = 64  # sources of which hops are counted at once

Measure = Callable[[Tensor, Tensor], Tensor]
"""Distances of pairs by number: (k,) sources and (k,) targets to (k,)."""


@dataclass(frozen=True, eq=False)
class PairTerms:
    """A penalty a pair: max(0, d − b)² at most b, max(0, b − d)² at least b, (d/b − 1)² about b.

    Attributes:
        sources, targets: numbers of concepts, (k,).
        bounds: b in hops, (k,).
        sides: −1 at most, 0 about, 1 at least, (k,).
        weights: (k,).
        entries: the number of the statement behind each, (k,).
    """

    sources: Int[Tensor, " k"]
    targets: Int[Tensor, " k"]
    bounds: Float[Tensor, " k"]
    sides: Int[Tensor, " k"]
    weights: Float[Tensor, " k"]
    entries: Int[Tensor, " k"]

    def some(self, at: Int[Tensor, " m"]) -> PairTerms:
        """These of them."""
        return PairTerms(*(getattr(self, name)[at] for name in self.__dataclass_fields__))

    def penalties(self, distances: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
        """Weighted, for distances in hops."""
        bounds = self.bounds.to(distances.dtype)
        off = distances - bounds
        side = self.sides.to(distances.dtype)
        # at least b: only what is missing counts; at most b: only what is too much
        bounded = torch.where(side == 0, off / bounds, (-side * off).clamp_min(0))
        return self.weights.to(distances.dtype) * bounded.square()

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True, eq=False)
class TripletTerms:
    """log(1 + exp((d_near − d_far + m)/τ)): the near pair should have the smaller distance.

    Attributes:
        near, far: (source, target) numbers of the two pairs, (k, 2).
        weights: (k,).
        entries: the number of the statement behind each, (k,).
    """

    near: Int[Tensor, "k 2"]
    far: Int[Tensor, "k 2"]
    weights: Float[Tensor, " k"]
    entries: Int[Tensor, " k"]

    def some(self, at: Int[Tensor, " m"]) -> TripletTerms:
        """These of them."""
        return TripletTerms(self.near[at], self.far[at], self.weights[at], self.entries[at])

    def penalties(
        self, near: Float[Tensor, " k"], far: Float[Tensor, " k"], *, margin: int | float, temperature: int | float
    ) -> Float[Tensor, " k"]:
        """Weighted, for distances in hops; m and τ too."""
        behind = (near - far + margin) / temperature
        return self.weights.to(near.dtype) * torch.nn.functional.softplus(behind)

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True, eq=False)
class Terms:
    """All that a loss needs to know of statements; links and pins have no terms."""

    pairs: PairTerms
    triplets: TripletTerms


def terms_of(
    constraints: Sequence[Constraint], index: Callable[[str], int], reference: Measure, *, step: float = 1.0
) -> Terms:
    """Statements as terms. A weight is the strength over the mean strength of the statements that have terms.

    Args:
        constraints: whose concepts ``index`` knows.
        index: the number of a concept by its name.
        reference: r of pairs, from which closer and farther are measured, in one call.
        step: what "closer" and "farther" ask for, and the least that "closer" may: one hop.
    """
    strengths = [float(one.strength) for one in constraints if isinstance(one, PairConstraint | Group | Nearer)]
    mean = math.fsum(strengths) / max(1, len(strengths))
    pairs, triplets = [], []
    for entry, one in enumerate(constraints):
        weight = one.strength / mean if mean else 1.0
        if isinstance(one, PairConstraint):
            bound, side = _bound(one)
            pairs += [(index(a), index(b), bound, side, weight, entry) for a, b in one.pairs]
        elif isinstance(one, Group):
            numbers = [index(name) for name in one.names]
            pairs += [(a, b, float(one.hops), -1, weight, entry) for a, b in _group_pairs(numbers)]
        elif isinstance(one, Nearer):
            a, b, c = map(index, one.concepts)
            triplets.append(((b, a, c, a) if one.toward else (a, b, a, c), weight, entry))
    found = PairTerms(*_columns(pairs, (int, int, float, int, float, int)))
    return Terms(_measured(found, reference, step), _triplets(triplets))


def graph_reference(graph: HopGraph) -> Measure:
    """Hop counts or lengths, counted from the sources alone; what no walk joins counts as a link more than the longest.

    >>> graph = HopGraph.from_edges([("Beer", "Hops"), ("Hops", "Yeast")])
    >>> graph_reference(graph)(torch.tensor([0, 2]), torch.tensor([2, 0]))
    tensor([2., 3.], dtype=torch.float64)
    """

    def measured(sources: Tensor, targets: Tensor) -> Tensor:
        found = torch.full((len(sources),), torch.inf, dtype=torch.float64)
        if not len(sources):
            return found
        distinct, row = torch.unique(sources, return_inverse=True)
        longest = 0.0
        for number, block in enumerate(hop_count_blocks(graph, distinct, dtype=torch.float64)):
            rows = block.double().masked_fill(block < 0, torch.inf)
            longest = max(longest, float(rows[rows.isfinite()].max()))
            mine = (row // _BLOCK == number).nonzero()[:, 0]
            found[mine] = rows[row[mine] - number * _BLOCK, targets[mine]]
        return found.masked_fill(found.isinf(), longest + mean_length(graph))

    return measured


def mean_length(graph: HopGraph) -> float:
    """Of a link: 1 where links are hops."""
    return 1.0 if graph.lengths is None or not len(graph.lengths) else float(graph.lengths.mean())


def _bound(one: PairConstraint) -> tuple[float, int]:
    """The bound, as far as it is known without a reference, and its side."""
    if isinstance(one, AboutHops):
        return float(one.hops), 0
    assert isinstance(one, Closer | Farther)
    return math.nan, -1 if isinstance(one, Closer) else 1


def _measured(terms: PairTerms, reference: Measure, step: float) -> PairTerms:
    """The same with the bounds that need a reference."""
    open_ = terms.bounds.isnan().nonzero()[:, 0]
    if len(open_):
        now = reference(terms.sources[open_], terms.targets[open_]).double()
        side = terms.sides[open_]
        terms.bounds[open_] = torch.where(side < 0, (now - step).clamp_min(step), now + step)
    return terms


def _group_pairs(numbers: Sequence[int]) -> Iterable[tuple[int, int]]:
    """All ordered pairs, or as many as are looked at, drawn by a fixed seed."""
    count = len(numbers)
    if count * (count - 1) <= MOST_GROUP_PAIRS:
        return ((a, b) for a in numbers for b in numbers if a != b)
    generator = torch.Generator().manual_seed(count)
    first = torch.randint(count, (MOST_GROUP_PAIRS,), generator=generator)
    second = (first + torch.randint(1, count, (MOST_GROUP_PAIRS,), generator=generator)) % count
    return ((numbers[a], numbers[b]) for a, b in zip(first.tolist(), second.tolist(), strict=True))


def _columns(rows: Sequence[tuple], kinds: Sequence[type]) -> list[Tensor]:
    columns = zip(*rows, strict=True) if rows else ((),) * len(kinds)
    dtypes = {int: torch.int64, float: torch.float64}
    return [torch.tensor(list(c), dtype=dtypes[kind]) for c, kind in zip(columns, kinds, strict=True)]


def _triplets(rows: Sequence[tuple[tuple[int, int, int, int], float, int]]) -> TripletTerms:
    ends = torch.tensor([row[0] for row in rows], dtype=torch.int64).reshape(-1, 4)
    weights, entries = _columns([row[1:] for row in rows], (float, int))
    return TripletTerms(ends[:, :2], ends[:, 2:], weights, entries)

"""What feedback has changed: each answer, the neighbours of what it names, and the drift of everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint
from hyperspectral_geo.hyperbolic.feedback.terms import Terms
from hyperspectral_geo.hyperbolic.neighbors import Neighbor, neighbors

__all__ = [
    "LEAST_DISTANCE",
    "AnswerChange",
    "Changes",
    "Drift",
    "NeighborChange",
    "can_be_directed",
    "changes_between",
]

_NEIGHBOURS = 8
_MOST_NAMED = 50  # concepts whose neighbours are listed
_MOST_ENTRIES = 1 << 22  # pairs that drift is measured on; of more a sample is drawn
_SLACK = 0.5  # hops: distances are read as whole numbers

LEAST_DISTANCE = 0.1
"""Hops; what is nearer counts as this far, where a change is set against a distance."""


@dataclass(frozen=True)
class AnswerChange:
    """An answer, the distances it is about before and after, and whether it was met.

    A bound is met within half a hop, an order if it holds; an answer on many pairs if it is met on all of them. Of
    many pairs the one that is off by most after the change is shown. A pin has no distances and is always met.
    """

    answer: Constraint
    before: tuple[float, ...]
    after: tuple[float, ...]
    was_met: bool
    met: bool


@dataclass(frozen=True)
class NeighborChange:
    """The concepts nearest to one, before and after."""

    name: str
    before: tuple[Neighbor, ...]
    after: tuple[Neighbor, ...]


@dataclass(frozen=True)
class Drift:
    """|d − d₀|/max(d₀, 0.1) over the ordered pairs that no answer is about.

    Attributes:
        mean: over all of them.
        largest: of those looked at.
        named: mean over those with an end that an answer names; no other pair changes at all.
        concepts: how many are named.
    """

    mean: float
    largest: float
    named: float
    concepts: int


@dataclass(frozen=True)
class Changes:
    """All that feedback has changed."""

    answers: tuple[AnswerChange, ...]
    neighbors: tuple[NeighborChange, ...]
    drift: Drift

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = [asdict(one) | {"answer": one.answer.as_record()} for one in self.answers]
        return {"answers": told, "neighbors": [asdict(n) for n in self.neighbors], "drift": asdict(self.drift)}


def changes_between(
    before: HopEmbedding,
    after: HopEmbedding,
    answers: Sequence[Constraint],
    terms: Terms,
    named: Int[Tensor, " m"],
    *,
    seed: int = 0,
) -> Changes:
    """What differs between two models that differ in the rows of the ``named`` concepts only.

    Args:
        before, after: of the same concepts.
        answers: what led from one to the other.
        terms: those of the answers.
        named: numbers of the concepts they name.
        seed: of the sample on which drift is measured where all pairs are too many.
    """
    names = [before.names[i] for i in named[:_MOST_NAMED].tolist()]
    near = [neighbors(model, names, _NEIGHBOURS) if names else [] for model in (before, after)]
    return Changes(
        tuple(_answer(one, number, before, after, terms) for number, one in enumerate(answers)),
        tuple(NeighborChange(n, tuple(a), tuple(b)) for n, a, b in zip(names, *near, strict=True)),
        _drift(before, after, terms, named, seed),
    )


def can_be_directed(model: HopEmbedding) -> bool:
    """Whether d(u→v) can be another than d(v→u): by two points a concept, or by scalars."""
    return any(part is not None for part in (model.targets, model.outgoing, model.incoming))


def _answer(one: Constraint, number: int, before: HopEmbedding, after: HopEmbedding, terms: Terms) -> AnswerChange:
    at = (terms.pairs.entries == number).nonzero()[:, 0]
    ordered = (terms.triplets.entries == number).nonzero()[:, 0]
    if len(ordered):
        ends = torch.cat([terms.triplets.near[ordered], terms.triplets.far[ordered]])
        (old, was), (new, met) = (_order(model.pair_distances(*ends.unbind(1))) for model in (before, after))
        return AnswerChange(one, old, new, was, met)
    if not len(at):
        return AnswerChange(one, (), (), True, True)
    pairs = terms.pairs.some(at)
    old, new = (model.pair_distances(pairs.sources, pairs.targets).double() for model in (before, after))
    off = [_off(distances, pairs.bounds, pairs.sides) for distances in (old, new)]
    shown = off[1].argmax(0, keepdim=True) if len(at) > 2 else torch.arange(len(at))
    good = [bool((miss <= _SLACK).all()) for miss in off]
    return AnswerChange(one, tuple(old[shown].tolist()), tuple(new[shown].tolist()), *good)


def _order(distances: Tensor) -> tuple[tuple[float, ...], bool]:
    near, far = distances.tolist()
    return (near, far), near < far


def _off(distances: Tensor, bounds: Tensor, sides: Tensor) -> Tensor:
    """By how many hops each distance misses its bound; negative where there is room."""
    off = distances - bounds
    return torch.where(sides == 0, off.abs(), -sides * off)


def _drift(before: HopEmbedding, after: HopEmbedding, terms: Terms, named: Tensor, seed: int) -> Drift:
    n, m = len(before), len(named)
    others = torch.arange(n)
    if n * m > _MOST_ENTRIES:
        others = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: max(1, _MOST_ENTRIES // m)]
        others = others.sort().values
    answered = _answered(terms, both_ways=not can_be_directed(before))
    out = _change(before, after, named, others, answered)
    into = _change(before, after, others, named, answered)
    into = into[~torch.isin(others, named)]  # pairs of two named concepts are among the others
    seen = torch.cat([out.flatten(), into.flatten()])
    seen = seen[~seen.isnan()]
    if not len(seen):
        return Drift(0.0, 0.0, 0.0, m)
    touched = 2 * m * n - m * m - m - len(answered)  # ordered pairs of different concepts with a named end
    mean = float(seen.mean())
    return Drift(mean * touched / (n * (n - 1) - len(answered)), float(seen.max()), mean, m)


def _answered(terms: Terms, *, both_ways: bool) -> Tensor:
    """Ordered pairs that answers are about, (k, 2), each once."""
    alone = torch.stack([terms.pairs.sources, terms.pairs.targets], 1)
    found = torch.cat([alone, terms.triplets.near, terms.triplets.far])
    return torch.unique(torch.cat([found, found.flip(1)]) if both_ways else found, dim=0)


def _change(before: HopEmbedding, after: HopEmbedding, rows: Tensor, columns: Tensor, answered: Tensor) -> Tensor:
    """|d − d₀|/max(d₀, 0.1) from rows to columns; NaN for a concept and itself and for answered pairs."""
    old, new = (
        model.scoring.hops(model.scoring.pairwise(model.leaving(rows), model.reached(columns)))
        for model in (before, after)
    )
    found = (new - old).abs() / old.abs().clamp_min(LEAST_DISTANCE)
    n = len(before)
    keys = rows[:, None] * n + columns
    skipped = torch.isin(keys, answered[:, 0] * n + answered[:, 1]) | (rows[:, None] == columns)
    return found.masked_fill(skipped, torch.nan)

"""Answers that adjust a trained model: only what they name moves, the same way every time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.feedback.changes import LEAST_DISTANCE, Changes, can_be_directed, changes_between
from hyperspectral_geo.hyperbolic.feedback.constraint import Constraint, Link, Pin
from hyperspectral_geo.hyperbolic.feedback.constraint_file import require_known
from hyperspectral_geo.hyperbolic.feedback.constraint_loss import put_at
from hyperspectral_geo.hyperbolic.feedback.contradictions import Conflicts, require_consistent
from hyperspectral_geo.hyperbolic.feedback.terms import Terms, terms_of
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.pair_leaves import PairLeaves
from hyperspectral_geo.hyperbolic.parameters import Gradient, HopParameters
from hyperspectral_geo.hyperbolic.row_adam import RowAdam
from hyperspectral_geo.hyperbolic.thread_count import torch_threads
from hyperspectral_geo.validation import require_seed

__all__ = ["FeedbackResult", "apply_feedback", "require_no_links"]

_RATE = 0.02
_TABLES = ("tangents", "targets", "outgoing", "incoming")


@dataclass(frozen=True, eq=False)
class FeedbackResult:
    """A model after feedback, and what has become of each answer, of neighbours and of all other pairs."""

    model: HopEmbedding
    changes: Changes


def apply_feedback(
    model: HopEmbedding,
    answers: Sequence[Constraint],
    *,
    hold: int | float = 3.0,
    sample: int = 256,
    steps: int = 120,
    most_drift: int | float = 0.01,
    conflicts: Conflicts = "refuse",
    seed: int = 0,
) -> FeedbackResult:
    """Move the concepts that answers name until the answers are met, and hold their distances to all others.

    Minimised over the rows of these concepts, points and scalars, by ``steps`` steps of Adam in float64 on one thread:

        Σ strength·penalty + λ Σ_moved rows mean_sample ((d − d₀)/max(d₀, 0.1))²

    with the penalties of ``ConstraintLoss``, strengths relative to their mean, r in "closer" and "farther" being the
    model's own distance. Read-out, forms and scale stay, and so does, bit for bit, the distance of every pair of which
    no answer names an end. The same model and answers give the same result on every run.

    Args:
        model: not changed.
        answers: of concepts of the model. Pinned concepts stay, or go to their point, and others move around them.
        hold: λ. Opinions on a pair should change little else; hop counts that were measured, of a model that knows too
            few links, say something of the concepts' other distances too, and 0.1 lets them.
        sample: concepts, drawn, to which distances are held in both directions.
        steps: of Adam.
        most_drift: the largest mean of |d − d₀|/max(d₀, 0.1) over the pairs that no answer is about.
        conflicts: whether contradictory answers are refused, or weighed by their strengths.
        seed: of the sample.

    Raises:
        ValueError: for numbers out of range, unknown concepts, contradictions, links, whose place is before training,
            and if the drift is larger than it may be.

    >>> from hyperspectral_geo.hyperbolic.feedback.constraint import AboutHops
    >>> model = HopEmbedding(("a", "b", "c", "d"), torch.tensor([[0.0, 0], [2, 0], [0, 2], [3, 3]]), "euclidean")
    >>> result = apply_feedback(model, [AboutHops("a", "b", 1)], most_drift=1.0)
    >>> result.model.distance("a", "b") < 1.5, result.model.distance("c", "d") == model.distance("c", "d")
    (True, True)
    """
    require_counts(sample=sample, steps=steps)
    require_seed(seed)
    for name, value, finite in (("hold", hold, True), ("most_drift", most_drift, False)):
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if not number or (finite and value == math.inf):
            raise ValueError(f"{name}: expected a {'finite ' * finite}number >= 0, got {value!r}")
    answers = _checked(model, answers, conflicts)
    with torch_threads(1):
        wide = _double(model)
        terms = terms_of(answers, wide.index, wide.pair_distances)
        pins = {wide.index(one.name): one.point for one in answers if isinstance(one, Pin)}
        named = torch.tensor(sorted({wide.index(name) for one in answers for name in one.concepts}))
        free = torch.tensor([row for row in named.tolist() if row not in pins], dtype=torch.int64)
        others = _sampled(len(model), named, sample, seed)
        moved = _pinned(_Region.of(wide, torch.cat([named, others])), pins)
        if len(free) and len(terms.pairs) + len(terms.triplets):
            _descend(moved, terms, free=free, others=others, hold=float(hold), steps=steps)
        adjusted = _with_rows(model, moved)
        changes = changes_between(model, adjusted, answers, terms, named, seed=seed)
    if changes.drift.mean > most_drift:
        raise ValueError(
            f"most_drift: expected the distances of other pairs to change by at most {most_drift:.2%} in the mean, got "
            f"{changes.drift.mean:.2%}; take back some answers, give them less strength, or pass a larger most_drift"
        )
    return FeedbackResult(adjusted, changes)


def require_no_links(answers: Iterable[Constraint]) -> None:
    """Raise ``ValueError`` for a ``Link``, which says something of a graph and nothing of a model's distances."""
    link = next((one for one in answers if isinstance(one, Link)), None)
    if link is not None:
        raise ValueError(
            f"answers: expected what can be said of distances, got {link}; leave it out, and train on it by "
            "`hsgeo hops train --constraints`"
        )


@dataclass(frozen=True, eq=False)
class _Region:
    """Some concepts of a model, ``rows``, and their part of its tables, numbered by their place among them."""

    rows: Int[Tensor, " m"]
    parameters: HopParameters

    @classmethod
    def of(cls, model: HopEmbedding, rows: Tensor) -> _Region:
        whole = HopParameters.of(model, scale=model.scale)
        tables = {name: table[rows] for name, table in whole.tables.items()}
        return cls(rows, replace(whole, tables=tables))

    def places(self, concepts: Int[Tensor, "*k"]) -> Int[Tensor, "*k"]:
        """Where these concepts are among the rows."""
        ordered, place = self.rows.sort()
        return place[torch.searchsorted(ordered, concepts.contiguous())]


def _checked(model: HopEmbedding, answers: Sequence[Constraint], conflicts: Conflicts) -> list[Constraint]:
    found = list(answers)
    if not found or not all(isinstance(one, Constraint) for one in found):
        raise ValueError(f"answers: expected at least one statement, got {answers!r:.80}")
    require_known(found, model.names)
    require_no_links(found)
    require_consistent(found, conflicts=conflicts, reference=model.distance, directed=can_be_directed(model))
    return found


def _double(model: HopEmbedding) -> HopEmbedding:
    """The same model in float64."""
    parts = {name: getattr(model, name).double() for name in (*_TABLES, "forms") if getattr(model, name) is not None}
    stairs = model.readout
    if stairs is not None:
        stairs = replace(stairs, thresholds=stairs.thresholds.double(), log_slopes=stairs.log_slopes.double())
    return replace(model, readout=stairs, **parts)


def _sampled(count: int, named: Tensor, sample: int, seed: int) -> Tensor:
    """Concepts that no answer names."""
    other = torch.ones(count, dtype=torch.bool)
    other[named] = False
    rows = other.nonzero()[:, 0]
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:sample]
    return rows[drawn.sort().values]


def _pinned(region: _Region, pins: dict[int, tuple[int | float, ...] | None]) -> _Region:
    for row, point in pins.items():
        if point is not None:
            put_at(region.parameters, int(region.places(torch.tensor([row]))), point)
    return region


def _descend(region: _Region, terms: Terms, *, free: Tensor, others: Tensor, hold: float, steps: int) -> None:
    """Move the free rows of the region."""
    parameters, pairs, triplets = region.parameters, terms.pairs, terms.triplets
    mine, fixed = region.places(free), region.places(others)
    sources = region.places(torch.cat([pairs.sources, triplets.near[:, 0], triplets.far[:, 0]]))
    targets = region.places(torch.cat([pairs.targets, triplets.near[:, 1], triplets.far[:, 1]]))
    counts = [len(pairs), len(triplets), len(triplets)]
    directions = [(mine, fixed), (fixed, mine)] if hold and len(fixed) else []
    with torch.no_grad():
        before = [PairLeaves(parameters, a, b, paired=False).predicted(parameters)[0] for a, b in directions]
    adam = RowAdam(parameters.tables)
    for step in range(steps):
        said = PairLeaves(parameters, sources, targets, paired=True)
        held = [PairLeaves(parameters, a, b, paired=False) for a, b in directions]
        with torch.enable_grad():
            alone, near, far = said.predicted(parameters)[0].split(counts)
            loss = pairs.penalties(alone).sum() + triplets.penalties(near, far, margin=0.0, temperature=0.5).sum()
            for leaves, old in zip(held, before, strict=True):
                off = (leaves.predicted(parameters)[0] - old) / old.abs().clamp_min(LEAST_DISTANCE)
                loss = loss + hold / len(fixed) * off.square().sum()
        loss.backward()
        rate = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.step(_gradients([said, *held], parameters, mine), rate)


def _gradients(leaves: Sequence[PairLeaves], parameters: HopParameters, rows: Tensor) -> dict[str, Gradient]:
    """Those of the tables' rows that may move."""
    total = {}
    for found in (one.gradients(parameters) for one in leaves):
        for name, table in parameters.tables.items():
            at, value = found[name]
            assert at is not None
            total.setdefault(name, torch.zeros_like(table)).index_add_(0, at, value)
    return {name: Gradient(rows, value[rows]) for name, value in total.items()}


def _with_rows(model: HopEmbedding, region: _Region) -> HopEmbedding:
    """The model with the rows of a region in the place of its own."""
    parts = {}
    for name, table in region.parameters.tables.items():
        whole = getattr(model, name).clone()
        whole[region.rows] = table.to(whole.dtype)
        parts[name] = whole
    return replace(model, **parts)

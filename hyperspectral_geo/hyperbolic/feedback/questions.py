"""Which pairs people should be asked about."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.geometry import exact_distance
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.step_forms import rowwise_form_scores
from hyperspectral_geo.validation import require_seed

__all__ = ["Acquisition", "Question", "hop_spread", "questions"]

Acquisition = Literal["remote", "spread"]

_CANDIDATES = 50_000
_SOURCES = 256  # from which it is measured how far a concept is from everything
_RUN = 1 << 14  # pairs measured at once


class Question(NamedTuple):
    """A pair, the model's distance, and how unsure it is: the standard deviation of its hops."""

    source: str
    target: str
    distance: float
    spread: float


@torch.no_grad()
def questions(
    model: HopEmbedding,
    count: int = 10,
    *,
    by: Acquisition = "remote",
    candidates: Int[Tensor, "k 2"] | None = None,
    without: Collection[tuple[str, str]] = (),
    seed: int = 0,
) -> list[Question]:
    """Pairs that people should be asked about, those of which most is to be learned first.

    No two of them have a concept in common; where the candidates name too few for that, the rest share some. How much
    either order is worth beside random pairs is measured by ``hsgeo bench people``.

    Args:
        model: with a read-out, whose steps say how likely each hop count is.
        count: how many questions; fewer where there are fewer candidates.
        by: ``"spread"``: the pairs of which the model is least sure. ``"remote"``: those whose targets are farthest
            from everything, and of these the least sure: few links lead there, so one that is not known matters most.
        candidates: numbers of sources and targets; by default 50,000 pairs drawn from all.
        without: pairs by name that are not to be asked, such as those answered before; with "remote" also no other
            pair with their targets, as long as there are others.
        seed: of all that is drawn.

    Raises:
        ValueError: for a model without a read-out, candidates that are no pairs of its concepts, or other numbers.
    """
    require_counts(count=count)
    require_seed(seed)
    if by not in ("remote", "spread"):
        raise ValueError(f"by: expected 'remote' or 'spread', got {by!r}")
    pairs = _candidates(model, candidates, seed)
    n = len(model)
    known = torch.tensor([(model.index(a), model.index(b)) for a, b in without], dtype=torch.int64).reshape(-1, 2)
    pairs = pairs[~torch.isin(pairs[:, 0] * n + pairs[:, 1], known[:, 0] * n + known[:, 1])]
    worth = hop_spread(model, pairs[:, 0], pairs[:, 1])
    if by == "remote" and len(pairs):
        far = _mean_distances(model, seed)
        far[known[:, 1]] = -torch.inf  # asked about before, and put last
        # By the target first; hops to it differ by far less than 1e3 between two pairs
        worth = worth / 1e3 + far.argsort(stable=True).argsort(stable=True)[pairs[:, 1]]
    # Stable: of equal ones the smaller number first, on every machine.
    chosen = _apart(pairs[worth.argsort(descending=True, stable=True)].tolist(), count)
    if not chosen:
        return []
    sources, targets = torch.tensor(chosen).unbind(1)
    distances, spreads = model.pair_distances(sources, targets), hop_spread(model, sources, targets)
    found = zip(chosen, distances.tolist(), spreads.tolist(), strict=True)
    return [Question(model.names[a], model.names[b], distance, spread) for (a, b), distance, spread in found]


@torch.no_grad()
def hop_spread(model: HopEmbedding, sources: Int[Tensor, " k"], targets: Int[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Standard deviation of the hops from each source to its target, as the read-out has them.

    Step k of the read-out is taken as P(more than k hops), the least of the steps up to it where they cross:

        Var = Σ_k (2k − 1)·P(h ≥ k) − (Σ_k P(h ≥ k))²,   P(h ≥ 1) = 1.

    Raises:
        ValueError: for a model without a read-out.

    >>> from hyperspectral_geo.hyperbolic.readout import Staircase
    >>> model = HopEmbedding(("a", "b"), torch.tensor([[0.0], [1.5]]), "euclidean", readout=Staircase.even(3))
    >>> hop_spread(model, torch.tensor([0]), torch.tensor([1]))
    tensor([0.7359], dtype=torch.float64)
    """
    if model.readout is None:
        raise ValueError("model: expected a read-out, which says how sure a distance is, got none; ask for given pairs")
    runs = zip(sources.split(_RUN), targets.split(_RUN), strict=True)
    found = [_spread(model, a, b) for a, b in runs]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def _spread(model: HopEmbedding, sources: Tensor, targets: Tensor) -> Tensor:
    assert model.readout is not None
    left, right = model.leaving(sources), model.reached(targets)
    score = model.scale * exact_distance(left.points, right.points, model.geometry) + left.scalars + right.scalars
    scores = score.expand(len(model.readout.thresholds), -1)
    if model.forms is not None and left.features is not None and right.features is not None:
        scores = scores + rowwise_form_scores(left.features, right.features, model.forms.double())
    beyond = model.readout.logits(scores).sigmoid().cummin(0).values
    at_least = torch.cat([torch.ones_like(beyond[:1]), beyond])
    odd = 2 * torch.arange(len(at_least), dtype=at_least.dtype)[:, None] + 1
    return ((odd * at_least).sum(0) - at_least.sum(0).square()).clamp_min(0).sqrt()


def _candidates(model: HopEmbedding, given: Tensor | None, seed: int) -> Int[Tensor, "k 2"]:
    """The pairs that are looked at, each once, sorted, without a concept and itself."""
    n = len(model)
    if n < 2:
        raise ValueError(f"model: expected at least two concepts to ask about, got {n}")
    if given is None:
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(n, (_CANDIDATES,), generator=generator)
        second = (first + torch.randint(1, n, (_CANDIDATES,), generator=generator)) % n
        given = torch.stack([first, second], 1)
    if given.numel() and not 0 <= int(given.min()) <= int(given.max()) < n:
        raise ValueError(f"candidates: expected numbers of concepts from 0 to {n - 1}, got others")
    keys = torch.unique(given[:, 0] * n + given[:, 1])
    pairs = torch.stack([keys // n, keys % n], 1)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _mean_distances(model: HopEmbedding, seed: int) -> Float[Tensor, " n"]:
    """To each concept, from some of the others."""
    drawn = torch.randperm(len(model), generator=torch.Generator().manual_seed(seed))[:_SOURCES]
    scoring = model.scoring
    return scoring.hops(scoring.pairwise(model.leaving(drawn), model.reached())).mean(0)


def _apart(pairs: list[list[int]], count: int) -> list[list[int]]:
    """The first pairs that have no concept in common, and after them, where these are too few, the first others."""
    met: set[int] = set()
    chosen, rest = [], []
    for pair in pairs:
        if len(chosen) == count:
            break
        if met.isdisjoint(pair):
            met.update(pair)
            chosen.append(pair)
        elif len(rest) < count:
            rest.append(pair)
    return chosen + rest[: count - len(chosen)]

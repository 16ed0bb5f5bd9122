"""Nearest concepts by the learned distance: exact, over all of them, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.hyperbolic.pair_scores import Ends, PairScores

__all__ = ["Direction", "Neighbor", "nearest", "neighbors"]

Direction = Literal["out", "in"]
"""``"out"``: few hops from the query; ``"in"``: few hops to it."""

_PAIRS = 1 << 20
_TOGETHER = 64  # queries that share one reading of the table
_RUN = 1 << 14  # concepts at a time, whose points stay in the cache
_EXACT = 1 << 16  # pairs whose points are gathered at once


class Neighbor(NamedTuple):
    """A concept and how far it is, in hops."""

    name: str
    distance: float


@overload
def neighbors(
    model: HopEmbedding, queries: str | int, k: int = 10, *, direction: Direction = "out", block: int = _PAIRS
) -> list[Neighbor]: ...
@overload
def neighbors(
    model: HopEmbedding,
    queries: Sequence[str | int] | Tensor,
    k: int = 10,
    *,
    direction: Direction = "out",
    block: int = _PAIRS,
) -> list[list[Neighbor]]: ...
def neighbors(
    model: HopEmbedding,
    queries: str | int | Sequence[str | int] | Tensor,
    k: int = 10,
    *,
    direction: Direction = "out",
    block: int = _PAIRS,
) -> list[Neighbor] | list[list[Neighbor]]:
    """The k concepts nearest to each query, nearest first, without the query itself.

    Args:
        model, k, direction, block: as ``nearest`` takes them.
        queries: a name, or a concept's number; or several of them.

    Returns:
        A list for one query; a list of lists for several.

    Raises:
        ValueError: for unknown names, with similar ones, and as ``nearest``.

    Example:
        >>> model = HopEmbedding(("a", "b", "c"), torch.tensor([[0.0], [2.0], [3.0]]), "euclidean")
        >>> neighbors(model, "b", 1)
        [Neighbor(name='c', distance=1.0)]
    """
    if isinstance(queries, (str, int)):
        return neighbors(model, [queries], k, direction=direction, block=block)[0]
    asked = queries.tolist() if isinstance(queries, Tensor) else queries
    numbers = torch.tensor([model.index(q) if isinstance(q, str) else q for q in asked], dtype=torch.int64)
    found = nearest(model, numbers, k, direction=direction, block=block)
    rows = zip(*(table.tolist() for table in found), strict=True)
    return [[Neighbor(model.names[i], d) for d, i in zip(*row, strict=True)] for row in rows]


@torch.no_grad()
def nearest(
    model: HopEmbedding,
    queries: Int[Tensor, " m"],
    k: int,
    *,
    direction: Direction = "out",
    block: int = _PAIRS,
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """Distances and numbers of the k concepts nearest to each query, as a search through all of them finds them.

    One matrix product bounds all distances from below. The pairs whose bound is under the k-th best distance so far are
    computed anew without cancellation, so that the answer is right at any radius; far out, where the bounds say little,
    it takes longer. The order is that of scores in float64: the read-out keeps it, and tells fewer of them apart. Equal
    scores are ordered by number.

    Time: about n·(d + 10) operations a query, and a few hundred exact distances. Memory: some 50 bytes × ``block``,
    and those of the points of ``block``/m concepts.

    Args:
        model: n concepts.
        queries: numbers of concepts.
        k: how many; all others if there are fewer.
        direction: d(query→·) with ``"out"``, d(·→query) with ``"in"``.
        block: pairs looked at at once.

    Returns:
        (m, min(k, n − 1)) distances in the model's dtype, ascending, and int64 numbers.

    Raises:
        ValueError: for numbers that are not concepts, or k, direction or block out of range.

    Example:
        >>> model = HopEmbedding(("a", "b", "c"), torch.tensor([[0.0], [2.0], [3.0]]), "euclidean")
        >>> nearest(model, torch.tensor([0, 2]), 2)
        (tensor([[2., 3.],
                [1., 3.]]), tensor([[1, 2],
                [1, 0]]))
    """
    require_counts(k=k, block=block)
    if direction not in ("out", "in"):
        raise ValueError(f"direction: expected 'out' or 'in', got {direction!r}")
    n = len(model)
    if len(queries) and not 0 <= int(queries.min()) <= int(queries.max()) < n:
        found = f"{int(queries.min())} to {int(queries.max())}"
        raise ValueError(f"queries: expected numbers of concepts from 0 to {n - 1}, got {found}")
    k = min(k, max(n - 1, 0))
    scores = torch.empty(len(queries), k, dtype=torch.float64)
    numbers = queries.new_empty(len(queries), k)
    for low in range(0, len(queries) if k else 0, _TOGETHER):
        some = slice(low, low + _TOGETHER)
        scores[some], numbers[some] = _search(model, queries[some], k, direction == "out", block)
    return model.scoring.hops(scores).to(model.tangents.dtype), numbers


def _search(model: HopEmbedding, queries: Tensor, k: int, out: bool, block: int) -> tuple[Tensor, Tensor]:
    """Scores and numbers of the k nearest, a run of concepts at a time."""
    scoring = model.scoring if out else model.scoring.flipped()
    here = model.leaving(queries) if out else model.reached(queries)
    scores, numbers = torch.full((len(queries), k), torch.inf, dtype=torch.float64), queries.new_zeros(len(queries), k)
    for run in torch.arange(len(model)).split(max(1, min(_RUN, block // len(queries)))):
        there = model.reached(run) if out else model.leaving(run)
        below = scoring.below(here, there)
        limit = _first_limit(scoring, here, there, below, k, queries) if run[0] == 0 else scores[:, -1:]
        row, column = torch.nonzero(~(below > limit), as_tuple=True)  # NaN: nothing is known
        other = run[column] != queries[row]
        row, column = row[other], column[other]
        scores, numbers = _merged(scores, numbers, row, run[column], _exact(scoring, here, there, row, column))
    return scores, numbers


def _first_limit(
    scoring: PairScores, here: Ends, there: Ends, below: Tensor, k: int, queries: Tensor
) -> Float[Tensor, "m 1"]:
    """A score that the k best of a first run do not exceed: the k-th of those whose bounds are lowest."""
    if below.shape[1] <= k:
        return torch.full_like(below[:, :1], torch.inf)
    guess = below.topk(k + 1, largest=False).indices  # one more, for the query itself
    score = _exact(scoring, here, there, torch.arange(len(guess))[:, None], guess)
    return score.masked_fill_(guess == queries[:, None], torch.inf).sort().values[:, k - 1 : k]


def _exact(scoring: PairScores, here: Ends, there: Ends, rows: Tensor, columns: Tensor) -> Tensor:
    """Scores of pairs without cancellation; shapes broadcast."""
    rows, columns = torch.broadcast_tensors(rows, columns)
    found = []
    for row, column in zip(rows.flatten().split(_EXACT), columns.flatten().split(_EXACT), strict=True):
        found.append(scoring.rowwise(here.some(row), there.some(column)))
    return torch.cat(found).reshape(rows.shape) if found else here.scalars.new_empty(rows.shape)


def _merged(scores: Tensor, numbers: Tensor, row: Tensor, found: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The k best of each row with what was found for it, (row, number, score) sorted by row and number."""
    (m, k), count = scores.shape, torch.bincount(row, minlength=len(scores))
    place = k + torch.arange(len(row)) - (count.cumsum(0) - count)[row]
    width = k + int(count.max())
    scores = torch.cat([scores, scores.new_full((m, width - k), torch.inf)], 1)
    numbers = torch.cat([numbers, numbers.new_zeros(m, width - k)], 1)
    scores[row, place], numbers[row, place] = score, found
    # Stable, and numbers rise from run to run: of equal scores the smaller number stays in front.
    scores, order = scores.sort(dim=1, stable=True)
    return scores[:, :k], numbers.gather(1, order[:, :k])

"""How well paired items find each other: ranks, recall, and the correction for hubs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hyperspectral_geo.validation import require_finite, require_floating

__all__ = ["Recall", "csls", "mean_average_precision", "mean_reciprocal_rank", "ranks", "recall_at_k"]


@dataclass(frozen=True)
class Recall:
    """Recall at each k, as fractions: rows that find their column, columns that find their row, and luck (k/n)."""

    forward: dict[int, float]
    backward: dict[int, float]
    chance: dict[int, float]

    @property
    def mean(self) -> dict[int, float]:
        """Recall at each k, averaged over both directions."""
        return {k: (self.forward[k] + self.backward[k]) / 2 for k in self.forward}


def ranks(similarity: Float[Tensor, "n n"]) -> Int[Tensor, "n"]:
    """Rank of the true partner j = i in every row, r_i = #{j : S_ij ≥ S_ii}; 1 is best.

    A tie counts against the partner: it gets the worst of the tied places, so that a constant similarity has rank n and
    not 1. Ranks of the other direction are ``ranks(similarity.T)``.

    Args:
        similarity: square, shape (n, n), floating; larger is nearer, and the partners are on the diagonal.

    Returns:
        Integers from 1 to n, shape (n,).

    Raises:
        ValueError: for another shape, an integer dtype, or NaN or infinity, which have no order.

    >>> import torch
    >>> ranks(torch.tensor([[0.9, 0.1], [0.5, 0.5]])).tolist()
    [1, 2]
    """
    _require_square(similarity)
    return (similarity >= similarity.diagonal()[:, None]).sum(dim=1)


def recall_at_k(similarity: Float[Tensor, "n n"], ks: Sequence[int] = (1, 5, 10)) -> Recall:
    """Share of items whose partner is among the k most similar, R@k = #{i : r_i ≤ k}/n, in both directions.

    Ties count against the partner (see ``ranks``), so that no degenerate similarity scores above chance.

    Args:
        similarity: square, shape (n, n), partners on the diagonal.
        ks: list lengths, each ≥ 1; a k above n gives 1.

    Returns:
        ``Recall`` with fractions from 0 to 1 for rows, for columns, and for luck: min(k/n, 1).

    Raises:
        ValueError: as ``ranks``, or for no k, or a k below 1.

    >>> import torch
    >>> found = recall_at_k(torch.eye(4), ks=(1, 2))
    >>> found.forward, found.chance
    ({1: 1.0, 2: 1.0}, {1: 0.25, 2: 0.5})
    """
    if not ks or any(not isinstance(k, int) or k < 1 for k in ks):
        raise ValueError(f"ks: expected list lengths of 1 or more, got {tuple(ks)}")
    forward, backward = ranks(similarity), ranks(similarity.T)
    n = len(similarity)
    return Recall(
        forward={k: int((forward <= k).sum()) / n for k in ks},
        backward={k: int((backward <= k).sum()) / n for k in ks},
        chance={k: min(k / n, 1.0) for k in ks},
    )


def mean_reciprocal_rank(similarity: Float[Tensor, "n n"]) -> float:
    """Mean of 1/rank over both directions: a smoother figure than recall, for choosing between settings.

    >>> import torch
    >>> mean_reciprocal_rank(torch.zeros(4, 4))
    0.25
    """
    return (
        ranks(similarity).double().reciprocal().mean() + ranks(similarity.T).double().reciprocal().mean()
    ).item() / 2


def mean_average_precision(similarity: Float[Tensor, "n m"], relevant: Bool[Tensor, "n m"]) -> float:
    """Mean over the rows of the precision at each relevant item: for queries to which several items are an answer.

    The precision at item j of row i is the share of relevant items among those that are at least as similar,
    #{k : S_ik ≥ S_ij, relevant} / #{k : S_ik ≥ S_ij}, so that ties stand together at the last of their places. A row
    whose similarities are all equal has the share of relevant items in the row.

    Args:
        similarity: queries in rows, shape (n, m), floating; larger is nearer.
        relevant: which items answer which query, such as those of its class.

    Returns:
        From 0 to 1. Of the other direction it is that of ``similarity.T`` and ``relevant.T``.

    Raises:
        ValueError: for other shapes, a query without a relevant item, an integer dtype, or NaN or infinity.

    >>> import torch
    >>> mean_average_precision(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[True, False, True]]))
    0.83
    """
    require_floating("similarity", similarity)
    if similarity.ndim != 2 or not similarity.numel() or relevant.shape != similarity.shape:
        raise ValueError(
            f"relevant: expected one entry for each of the similarity {tuple(similarity.shape)} of queries and items, "
            f"got {tuple(relevant.shape)}"
        )
    require_finite("similarity", similarity)
    answers = relevant.sum(dim=1)
    if bool((answers == 0).any()):
        row = int((answers == 0).nonzero()[0])
        raise ValueError(f"relevant: expected an item that answers each query, got none in row {row}; leave it out")
    falling, order = similarity.sort(dim=1, descending=True)
    hits = relevant.gather(1, order)
    rising = (-falling).contiguous()
    places = torch.searchsorted(rising, rising, right=True)  # of the last of those that tie
    precision = hits.cumsum(1).gather(1, places - 1).double() / places
    return float(((precision * hits).sum(1) / answers).mean())


def csls(similarity: Float[Tensor, "n m"], *, k: int = 10) -> Float[Tensor, "n m"]:
    """Cross-domain similarity local scaling, 2·S_ij − r_i − r_j, which takes from hubs what they have too much.

    r_i is the mean of the k largest entries of row i, r_j that of column j. It looks at all queries at once, so a
    comparison of methods should give it to all of them or to none.

    Args:
        similarity: shape (n, m), as a rule cosines.
        k: neighbours to average, from 1 to min(n, m).

    Returns:
        Corrected similarity of the same shape; its scale is no longer that of a cosine.

    Raises:
        ValueError: for a k out of range, another shape, an integer dtype, or NaN.

    References:
        Conneau, Lample, Ranzato, Denoyer and Jégou, "Word Translation Without Parallel Data", 2018, arXiv:1710.04087.

    >>> import torch
    >>> csls(torch.tensor([[1.0, 0.0], [0.5, 0.0]]), k=1)
    tensor([[ 0.0000, -1.0000],
            [-0.5000, -0.5000]])
    """
    require_floating("similarity", similarity)
    if similarity.ndim != 2 or not 1 <= k <= min(similarity.shape):
        raise ValueError(f"k: expected 1 to the smaller side of the similarity {tuple(similarity.shape)}, got {k}")
    require_finite("similarity", similarity)
    rows = similarity.topk(k, dim=1).values.mean(dim=1, keepdim=True)
    columns = similarity.topk(k, dim=0).values.mean(dim=0, keepdim=True)
    return 2 * similarity - rows - columns


def _require_square(similarity: Tensor) -> None:
    require_floating("similarity", similarity)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not len(similarity):
        raise ValueError(
            f"similarity: expected shape (n, n) with partners on the diagonal, got {tuple(similarity.shape)}; "
            "score as many items of one view as of the other"
        )
    require_finite("similarity", similarity)

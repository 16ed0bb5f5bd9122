"""The loss of typed links: each tail against candidates that the whole batch shares, with a gradient written out."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyperspectral_geo.hyperbolic.geometry import Geometry

__all__ = ["link_loss", "squared_distance"]

_ENTRIES = 1 << 18  # of a block of the table: three such blocks stay in a core's cache


def link_loss(
    queries: Float[Tensor, "b c"],
    candidates: Float[Tensor, "n c"],
    biases: Float[Tensor, " n"],
    own: Float[Tensor, " b"],
    rows: Int[Tensor, " k"],
    scores: Float[Tensor, " k"],
    masked: tuple[Int[Tensor, " j"], Int[Tensor, " j"]],
    *,
    geometry: Geometry,
    scale: float,
    share: float = 1.0,
) -> Float[Tensor, ""]:
    """Sum over all tails of −log of e^{s_k} over e^{s_k} + e^{own} + (1/share)·Σ_n e^{s_n}, n not masked.

    The score of candidate n for query b is −scale·d(q_b, y_n)² + bias_n. Other true tails of a query are masked, as
    they are when ranks are filtered. The head itself is always a candidate: relations that move little would put it
    before the true tail, and a sample seldom holds it. No table of gradients is kept: the table of scores is made a
    block of rows at a time, and turned into gradients in place.

    Args:
        queries: points, (b, c).
        candidates: points that are no tails, or all, (n, c).
        biases: of the candidates.
        own: scores of the heads themselves.
        rows: query of each tail, ascending.
        scores: of the tails, from ``squared_distance``.
        masked: rows (ascending) and columns of the table that do not count.
        geometry: ``"hyperbolic"`` (Lorentz coordinates) or ``"euclidean"``.
        scale: what a squared distance costs.
        share: how many of all candidates were drawn, from 0 to 1.

    References:
        Sampled softmax: Bengio and Senécal 2008. All entities against one, for knowledge graphs: Lacroix, Usunier,
        Obozinski, ICML 2018, arXiv:1806.07297.
    """
    left, right = _lifted(queries, candidates, geometry)
    return _LinkLoss.apply(left, right, biases, own, rows, scores, *masked, geometry == "hyperbolic", scale, share)


def squared_distance(x: Float[Tensor, "k c"], y: Float[Tensor, "k c"], geometry: Geometry) -> Float[Tensor, " k"]:
    """d(x_i, y_i)² of corresponding points, with a gradient that is finite where they coincide.

    Example:
        >>> squared_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]), "euclidean")
        tensor([25.])
    """
    difference = x - y
    if geometry == "euclidean":
        return difference.square().sum(-1)
    # cosh d − 1 from the difference, which cancels less than the inner product
    excess = (difference[:, 1:].square().sum(-1) - difference[:, 0].square()) / 2
    excess = excess.clamp_min(torch.finfo(x.dtype).eps)
    return torch.log1p(excess + excess.sqrt() * (excess + 2).sqrt()).square()


def _lifted(x: Tensor, y: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Vectors whose inner product is cosh d, or d² in Euclidean space."""
    if geometry == "hyperbolic":
        return torch.cat([x[:, :1], -x[:, 1:]], 1), y
    ones = torch.ones_like(x[:, :1]), torch.ones_like(y[:, :1])
    lengths = (v.square().sum(-1, keepdim=True) for v in (x, y))
    return torch.cat([next(lengths), ones[0], -2 * x], 1), torch.cat([ones[1], next(lengths), y], 1)


class _LinkLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        biases: Tensor,
        own: Tensor,
        rows: Tensor,
        scores: Tensor,
        masked_rows: Tensor,
        masked_columns: Tensor,
        curved: bool,
        scale: float,
        share: float,
    ) -> Tensor:
        block = max(1, _ENTRIES // len(right))
        starts = torch.arange(0, len(left) + block, block)
        tails, hidden = (torch.searchsorted(part, starts).tolist() for part in (rows, masked_rows))
        gradients = tuple(torch.zeros_like(part) for part in (left, right, biases, own, scores))
        to_left, to_right, to_biases, to_own, to_scores = gradients
        table = _Table(block, right, curved)
        nothing = torch.finfo(left.dtype).min / 4  # −∞ would make NaN of a row that is masked as a whole
        loss = left.new_zeros(())
        for number, start in enumerate(range(0, len(left), block)):
            query = left[start : start + block]
            weight = table.scores(query, biases, scale)
            some = slice(hidden[number], hidden[number + 1])
            weight[masked_rows[some] - start, masked_columns[some]] = nothing
            some = slice(tails[number], tails[number + 1])
            row = rows[some] - start
            sampled = _log_partition(weight) - math.log(share)
            partition = torch.logaddexp(sampled, own[start : start + block])
            excess = partition[row] - scores[some]
            loss += torch.nn.functional.softplus(excess).sum()
            missed = excess.sigmoid()  # of a tail's probability, what is short of one
            to_scores[some] = -missed
            short = left.new_zeros(len(query)).index_add_(0, row, missed)
            rest = short * (sampled - partition).exp()
            to_own[start : start + block] = short - rest
            weight.mul_(rest[:, None])
            to_biases += weight.sum(0)
            to_left[start : start + block], found = table.slopes(query, weight)
            to_right += found
        to_left.mul_(-scale)
        to_right.mul_(-scale)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_left, to_right, to_biases, to_own, to_scores = (grad * part for part in ctx.saved_tensors)
        return to_left, to_right, to_biases, to_own, None, to_scores, None, None, None, None, None


class _Table:
    """Blocks of the table of scores, in memory that all of them share."""

    def __init__(self, rows: int, right: Tensor, curved: bool) -> None:
        self.right, self.across = right, right.T.contiguous()
        self.curved = curved
        self.distance, self.sinh, self.weight = right.new_empty(3, rows, len(right)).unbind()
        self.kind = _product_kind(right.dtype)
        self.rounded = right.to(self.kind)

    def scores(self, query: Tensor, biases: Tensor, scale: float) -> Tensor:
        """−scale·d² + bias of a block."""
        distance, sinh, weight = (part[: len(query)] for part in (self.distance, self.sinh, self.weight))
        torch.mm(query, self.across, out=distance)
        if not self.curved:
            return torch.add(biases, distance, alpha=-scale, out=weight)
        limits = torch.finfo(distance.dtype)
        distance.clamp_(1 + 4 * limits.eps, limits.max**0.48)  # whose square is a number
        torch.mul(distance, distance, out=sinh).sub_(1).sqrt_()
        distance.sub_(1).add_(sinh).log1p_()  # arccosh
        return torch.addcmul(biases, distance, distance, value=-scale, out=weight)

    def slopes(self, query: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of Σ weight·d² to the block's queries, and to the candidates; ``weight`` is used up."""
        if self.curved:  # d² by cosh d is 2d/sinh d
            weight.mul_(self.distance[: len(query)]).div_(self.sinh[: len(query)]).mul_(2)
        rounded = weight.to(self.kind)
        return (rounded @ self.rounded).to(query.dtype), (rounded.T @ query.to(self.kind)).to(query.dtype)


def _log_partition(scores: Tensor) -> Tensor:
    """log Σ exp of each row; the scores become the softmax. The fused softmax is the fastest exponential there is."""
    largest, place = scores.max(1)
    torch.softmax(scores, 1, out=scores)
    return largest - scores.gather(1, place[:, None])[:, 0].log()


def _product_kind(dtype: torch.dtype) -> torch.dtype:
    """bfloat16 for the products that give gradients, where the processor multiplies it in tiles; sums are float32."""
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
    tiles = dtype == torch.float32 and known.get("amx_bf16", False)
    return torch.bfloat16 if tiles else dtype

"""From a smooth score to hops: a learned staircase."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["Staircase"]


@dataclass(frozen=True, eq=False)
class Staircase:
    """ŷ = 1 + Σ_k σ(β_k (x − θ_k)), which rises from one hop to 1 + K and is the same for all pairs.

    Hop counts are whole numbers, and most of Wikipedia's are 3: given a score that is not sure, the best guess stays on
    a step until the score is well past its edge. A monotone read-out keeps the order of the scores, hence neighbours,
    and costs no number a node. It is the mean of a cumulative logit model (McCullagh 1980) whose slopes may differ.

    Attributes:
        thresholds: θ, (K,), the edges of the steps, in hops.
        log_slopes: log β, (K,).
    """

    thresholds: Float[Tensor, " k"]
    log_slopes: Float[Tensor, " k"]

    @classmethod
    def even(cls, steps: int, *, slope: float = 2.0, dtype: torch.dtype = torch.float32) -> Staircase:
        """Edges at 1.5, 2.5, …, so that the staircase is near the identity to begin with.

        >>> stairs = Staircase.even(4, slope=20.0)
        >>> stairs(torch.tensor([0.0, 2.0, 2.9, 9.0]))
        tensor([1., 2., 3., 5.])
        """
        edges = torch.arange(steps, dtype=dtype) + 1.5
        return cls(edges, torch.full_like(edges, slope).log())

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """ŷ of each score."""
        return _Climb.apply(x, self.thresholds, self.log_slopes)

    def logits(self, scores: Float[Tensor, "k *shape"]) -> Float[Tensor, "k *shape"]:
        """β_k (x_k − θ_k), where each step has a score of its own."""
        by_step = (-1,) + (1,) * (scores.ndim - 1)
        edges, slopes = self.thresholds.to(scores.dtype), self.log_slopes.to(scores.dtype).exp()
        return slopes.reshape(by_step) * (scores - edges.reshape(by_step))

    def climbed(self, scores: Iterable[Tensor]) -> Float[Tensor, "*shape"]:
        """Σ_k σ(β_k (x_k − θ_k)), ŷ − 1, which tells small steps apart where 1 + them would not; a score at a time.

        >>> Staircase.even(2).climbed([torch.tensor([-8.0]), torch.tensor([-7.0])])
        tensor([1.1206e-08])
        """
        steps = zip(scores, self.thresholds.tolist(), self.log_slopes.exp().tolist(), strict=True)
        return functools.reduce(Tensor.add_, (score.sub(edge).mul_(slope).sigmoid_() for score, edge, slope in steps))


class _Climb(torch.autograd.Function):
    """Keeps only x, and climbs again on the way back: autograd would keep every step's sigmoid."""

    @staticmethod
    def forward(ctx, x: Tensor, thresholds: Tensor, log_slopes: Tensor) -> Tensor:
        ctx.save_for_backward(x, thresholds, log_slopes)
        climbed = torch.ones_like(x)
        for edge, slope in zip(thresholds.tolist(), log_slopes.exp().tolist(), strict=True):
            climbed += x.sub(edge).mul_(slope).sigmoid_()
        return climbed

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, thresholds, log_slopes = ctx.saved_tensors
        to_x, to_edges, to_slopes = torch.zeros_like(x), [], []
        for edge, slope in zip(thresholds.tolist(), log_slopes.exp().tolist(), strict=True):
            above = x.sub(edge).mul_(slope)
            step = above.sigmoid()
            rise = step.addcmul_(step, step, value=-1).mul_(grad)  # grad · σ(1 − σ)
            to_x.add_(rise, alpha=slope)
            to_edges.append(-slope * rise.sum())
            to_slopes.append((rise * above).sum())
        return to_x, torch.stack(to_edges), torch.stack(to_slopes)

"""Predicted hops of all pairs as a product of two thin tables, small enough to travel with a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from hyperspectral_geo.hyperbolic.embedding import HopEmbedding
from hyperspectral_geo.hyperbolic.objective import require_counts
from hyperspectral_geo.validation import require_seed

__all__ = ["HopFactors", "hop_factors"]

_NEAR = 0.25  # of the mean distance: nearer pairs weigh no more than pairs as near as this
_RIDGE = 1e-6  # of the largest diagonal entry of a row's normal equations
_BLOCK = 1 << 22  # predictions computed at once
_JUDGED = 256  # concepts whose rows tell the error


@dataclass(frozen=True, eq=False)
class HopFactors:
    """d̂(u→v) ≈ Σ_k s_k·S_uk·T_vk, one byte a number; made by ``hop_factors``.

    Attributes:
        source: S, (n, r) int8.
        target: T, (n, r) int8.
        scales: s, (r,) float64, hops.
        mean_error: mean of |approximation − prediction| in hops over pairs of different concepts.
    """

    source: Int8[Tensor, "n r"]
    target: Int8[Tensor, "n r"]
    scales: Float[Tensor, " r"]
    mean_error: float

    def distances(self, sources: Int[Tensor, " m"] | None = None) -> Float[Tensor, "m n"]:
        """Approximate hops from some concepts (default: all) to all, float64; 0 from a concept to itself."""
        rows = torch.arange(len(self.source)) if sources is None else sources
        found = (self.source[rows].double() * self.scales) @ self.target.double().T
        found[torch.arange(len(rows)), rows] = 0.0
        return found


@torch.no_grad()
def hop_factors(
    model: HopEmbedding, *, rank: int = 10, samples: int = 1024, sweeps: int = 6, seed: int = 0
) -> HopFactors:
    """Approximate what a model of any kind predicts by a table of rank r, in bytes.

    Alternating least squares on the predictions from ``samples`` concepts and those to ``samples`` others: S_u of each
    concept is fitted to the predictions from it, its T_v to those to it, Σ ((S_u·T_v − d̂(u→v)) / max(d̂(u→v), m/4))²
    over pairs of different concepts with m the mean prediction, so that one hop is told from two. The factors are then
    balanced by their singular value decomposition and rounded to whole numbers from −127 to 127.

    Time and memory grow as n·samples; with ``samples`` ≥ n all pairs are seen.

    Args:
        model: n ≥ 1 concepts.
        rank: r ≥ 1; at most n is used.
        samples: how many rows and columns are looked at.
        sweeps: how often both sides are solved for.
        seed: of the samples and of the start.

    Raises:
        ValueError: for counts below 1, a seed below 0, or a model without concepts.

    References:
        Hastie, Mazumder, Lee and Zadeh, "Matrix Completion and Low-Rank SVD via Fast Alternating Least Squares", JMLR
        2015, arXiv:1410.2596.

    Example:
        >>> model = HopEmbedding(("a", "b", "c"), torch.tensor([[0.0], [1.0], [3.0]]), "euclidean")
        >>> hop_factors(model, rank=3).distances()[0].round(decimals=1)
        tensor([0.0000, 1.0000, 3.0000], dtype=torch.float64)
    """
    require_counts(rank=rank, samples=samples, sweeps=sweeps)
    require_seed(seed)
    n = len(model)
    if n == 0:
        raise ValueError("model: expected one with concepts, got none; train one with `hsgeo hops train`")
    rank = min(rank, n)
    generator = torch.Generator().manual_seed(seed)
    chosen = [torch.randperm(n, generator=generator)[:samples].sort().values for _ in range(2)]
    from_all = _Seen.of(model, torch.arange(n), chosen[0])
    to_all = _Seen.of(model, torch.arange(n), chosen[1], reached=True)
    target = torch.randn(n, rank, generator=generator)
    target[:, 0] = 1.0
    source = from_all.solved(target)
    for _ in range(sweeps):
        target = to_all.solved(source)
        source = from_all.solved(target)
    source, target, scales = _rounded(source.double(), target.double())
    made = HopFactors(source, target, scales, 0.0)
    judged = torch.randperm(n, generator=generator)[:_JUDGED]
    return HopFactors(source, target, scales, _mean_error(made, model, judged))


@dataclass(frozen=True, eq=False)
class _Seen:
    """Predictions between all concepts and a sample of them, and what each counts.

    Attributes:
        sample: (m,) numbers of concepts.
        hops: (n, m) float32.
        weights: (n, m) float32, 1/d̂², and 0 from a concept to itself.
    """

    sample: Tensor
    hops: Tensor
    weights: Tensor

    @classmethod
    def of(cls, model: HopEmbedding, rows: Tensor, sample: Tensor, *, reached: bool = False) -> _Seen:
        scoring = model.scoring.flipped() if reached else model.scoring
        there = model.leaving(sample) if reached else model.reached(sample)
        hops = torch.empty(len(rows), len(sample))
        for part in rows.split(max(1, _BLOCK // len(sample))):
            here = model.reached(part) if reached else model.leaving(part)
            hops[part] = scoring.hops(scoring.pairwise(here, there)).float()
        floor = _NEAR * float(hops.abs().mean()) or 1.0
        weights = hops.abs().clamp_min(floor).square_().reciprocal_()
        weights[sample, torch.arange(len(sample))] = 0.0
        return cls(sample, hops, weights)

    def solved(self, other: Tensor) -> Tensor:
        """For each row the factor that fits best to the sample's factors among ``other``."""
        features = other[self.sample]
        i, j = torch.triu_indices(features.shape[1], features.shape[1])
        matrix = features.new_empty(len(self.hops), features.shape[1], features.shape[1])
        matrix[:, i, j] = matrix[:, j, i] = self.weights @ (features[:, i] * features[:, j])
        right = (self.weights * self.hops) @ features
        breath = (_RIDGE * matrix.diagonal(dim1=1, dim2=2).amax(1)).clamp_min(_RIDGE)
        matrix += breath[:, None, None] * torch.eye(features.shape[1])
        return torch.linalg.solve(matrix.double(), right.double()).float()


def _rounded(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factors of the same product whose columns are orthogonal and of equal size, as whole numbers up to 127."""
    left, right = torch.linalg.qr(source), torch.linalg.qr(target)
    u, sizes, vh = torch.linalg.svd(left.R @ right.R.T)
    sides = left.Q @ u * sizes.sqrt(), right.Q @ vh.T * sizes.sqrt()
    steps = [side.abs().amax(0).clamp_min(torch.finfo(side.dtype).tiny) / 127 for side in sides]
    whole = [(side / step).round().to(torch.int8) for side, step in zip(sides, steps, strict=True)]
    return whole[0], whole[1], steps[0] * steps[1]


def _mean_error(factors: HopFactors, model: HopEmbedding, rows: Tensor) -> float:
    """Over pairs of different concepts, those of ``rows`` and all."""
    wrong = sum((factors.distances(part) - model.distances(part)).abs().sum().item() for part in rows.split(64))
    return wrong / max(len(rows) * (len(model) - 1), 1)

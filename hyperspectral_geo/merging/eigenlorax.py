"""A common subspace of many adapters, frozen, with loadings that a new task trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyperspectral_geo.merging.delta import LowRank

__all__ = ["EigenLoadings", "FactorSubspace", "eigen_subspaces"]


@dataclass(frozen=True, eq=False)
class FactorSubspace:
    """Vectors of one side of a weight's adapters: x ≈ mean + components @ loadings.

    Attributes:
        mean: (n,), of all adapters' vectors on this side.
        components: (n, k) orthonormal, the leading principal directions.
        values: (k,) singular values of the centred vectors.
        count: how many vectors there were.
        captured: share of the centred vectors' energy that the components hold, 1 if there is none.
    """

    mean: Float[Tensor, " n"]
    components: Float[Tensor, "n k"]
    values: Float[Tensor, " k"]
    count: int
    captured: float

    def loadings(self, vectors: Float[Tensor, "n r"]) -> Float[Tensor, "k r"]:
        """Coordinates of vectors: componentsᵀ(x − mean)."""
        return self.components.mT @ (vectors - self.mean.unsqueeze(-1))

    def vectors(self, loadings: Float[Tensor, "k r"]) -> Float[Tensor, "n r"]:
        """mean + components @ loadings."""
        return self.mean.unsqueeze(-1) + self.components @ loadings


def eigen_subspaces(
    updates: Sequence[LowRank], *, components: int, dtype: torch.dtype = torch.float64
) -> tuple[FactorSubspace, FactorSubspace]:
    """Principal subspaces of one weight's adapters, left (of the columns of all B) and right (of the rows of all A)
    (EigenLoRAx, Kaushik et al. 2025, arXiv:2502.04700).

    From the SVD of the stacked centred factors. The published code takes ``eig`` of their covariance, which loses
    half of the digits and whose vectors are not orthogonal (error 0.83 measured), and leaves the mean out when it goes
    back to weights. How a module is factored is part of what is stacked here: bring adapters of different origin into
    one form first, as with ``update.truncated(r)``.

    Args:
        updates: adapters of one weight, as factors.
        components: K, the number of directions a side; cut to the rank of the centred vectors.
        dtype: of the computation and the result.

    Raises:
        ValueError: for no updates, several shapes, or fewer than one component.
    """
    if len(updates) == 0:
        raise ValueError("updates: expected at least one adapter, got none")
    if components < 1:
        raise ValueError(f"components: expected a whole number >= 1, got {components}")
    shapes = {u.shape for u in updates}
    if len(shapes) > 1:
        raise ValueError(f"updates: expected one shape, got {sorted(shapes)}")
    left = torch.cat([u.left.to(dtype) for u in updates], 1)
    right = torch.cat([u.right.mT.to(dtype) for u in updates], 1)
    return _principal(left, components), _principal(right, components)


def _principal(vectors: Tensor, count: int) -> FactorSubspace:
    mean = vectors.mean(1)
    u, s, _ = torch.linalg.svd(vectors - mean.unsqueeze(-1), full_matrices=False)
    size = torch.linalg.vector_norm(vectors)
    rank = int((s > 10 * torch.finfo(s.dtype).eps * size).sum())
    k = min(count, max(rank, 1), len(s))
    energy = s.square()
    captured = float(energy[:k].sum() / energy.sum()) if rank else 1.0
    return FactorSubspace(mean, u[:, :k], s[:k], vectors.shape[1], captured)


class EigenLoadings(nn.Module):
    """An update of one weight whose factors lie in frozen subspaces; only loadings, 2·(K + 1)·r numbers, are trained.

    B = [mean, components] @ left_loadings, and A likewise: each column has a loading on the adapters' mean as well, so
    that the update can be exactly zero at first and still reach what mean + components holds.

    Args:
        left: subspace of the columns of B.
        right: subspace of the rows of A.
        rank: r of the update.
        start: an update to start from, as near as the subspaces hold it; by default B = 0, so that nothing changes
            yet, and A the mean of the adapters' rows with random loadings as large as the adapters' own.
        seed: of these.

    Raises:
        ValueError: for a rank below 1 or a start of another shape or rank.
    """

    left: Tensor
    right: Tensor

    def __init__(
        self, left: FactorSubspace, right: FactorSubspace, rank: int, *, start: LowRank | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank: expected a whole number >= 1, got {rank}")
        self.register_buffer("left", torch.cat([left.mean.unsqueeze(-1), left.components], 1))
        self.register_buffer("right", torch.cat([right.mean.unsqueeze(-1), right.components], 1))
        ones = left.mean.new_ones(1, rank)
        if start is None:
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(len(right.values), rank, generator=generator, dtype=torch.float64).to(right.mean)
            first = left.mean.new_zeros(left.components.shape[1] + 1, rank)
            second = torch.cat([ones, noise * right.values.unsqueeze(-1) / max(right.count, 1) ** 0.5])
        else:
            shape = (len(left.mean), len(right.mean))
            if start.rank != rank or start.shape != shape:
                raise ValueError(f"start: expected shape and rank {(shape, rank)}, got {(start.shape, start.rank)}")
            start = start.to(left.mean.dtype)
            first = torch.cat([ones, left.loadings(start.left)])
            second = torch.cat([ones, right.loadings(start.right.mT)])
        self.left_loadings = nn.Parameter(first)
        self.right_loadings = nn.Parameter(second)

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """B and A, differentiable in the loadings."""
        return self.left @ self.left_loadings, (self.right @ self.right_loadings).mT

    def update(self) -> LowRank:
        """The update as it is now, detached."""
        b, a = self.factors()
        return LowRank(b.detach(), a.detach())

    def forward(self, weight: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
        """weight + B A; as a parametrisation, ``torch.nn.utils.parametrize.register_parametrization(layer, "weight",
        loadings)`` adapts a linear layer whose own weight is frozen."""
        b, a = self.factors()
        return weight + (b @ a).to(weight.dtype)

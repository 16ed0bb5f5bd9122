"""What a module changes in one weight: a matrix, kept as two factors where its rank is low."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.validation import require_floating, require_same_kind

__all__ = ["Delta", "Dense", "LowRank", "relative_difference", "stack"]


@dataclass(frozen=True, eq=False)
class LowRank:
    """ΔW = left @ right, (m, n), of rank at most r; the product is formed only by ``dense``.

    Attributes:
        left: (m, r), for LoRA the scaled B.
        right: (r, n), for LoRA A.
        notes: what the method that made it reports about this weight, such as the iterations of a mean.
    """

    left: Float[Tensor, "m r"]
    right: Float[Tensor, "r n"]
    notes: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_floating("left", self.left)
        require_same_kind(left=self.left, right=self.right)
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[0]:
            raise ValueError(
                "left, right: expected shapes (m, r) and (r, n), "
                f"got {tuple(self.left.shape)} and {tuple(self.right.shape)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def rank(self) -> int:
        """Number of factors r, an upper bound of the rank."""
        return self.left.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Kind of the factors."""
        return self.left.dtype

    def dense(self) -> Float[Tensor, "m n"]:
        """The matrix itself."""
        return self.left @ self.right

    def to(self, dtype: torch.dtype) -> LowRank:
        """The same in another kind of number."""
        return replace(self, left=self.left.to(dtype), right=self.right.to(dtype))

    def scaled(self, factor: float | Tensor) -> LowRank:
        """factor·ΔW."""
        return replace(self, left=self.left * factor)

    def norm(self) -> Tensor:
        """Frobenius norm, (), from the r×r core, so in O((m+n)r²)."""
        return torch.linalg.matrix_norm(self._core()[1])

    def svd(self) -> tuple[Float[Tensor, "m k"], Float[Tensor, " k"], Float[Tensor, "k n"]]:
        """U, σ descending, Vᵀ with k = min(m, r, n), from two QR decompositions and the SVD of the core."""
        q_left, core, q_right = self._core()
        u, s, vh = torch.linalg.svd(core, full_matrices=False)
        return q_left @ u, s, vh @ q_right.mT

    def truncated(self, rank: int) -> LowRank:
        """The nearest matrix of rank ≤ ``rank`` (Eckart & Young 1936), its factors balanced as U√σ and √σVᵀ."""
        u, s, vh = self.svd()
        return balanced(u[:, :rank], s[:rank], vh[:rank], notes=self.notes)

    def _core(self) -> tuple[Tensor, Tensor, Tensor]:
        q_left, r_left = torch.linalg.qr(self.left)
        q_right, r_right = torch.linalg.qr(self.right.mT)
        return q_left, r_left @ r_right.mT, q_right


@dataclass(frozen=True, eq=False)
class Dense:
    """ΔW as the matrix itself: full fine-tuning, or a method that works entry by entry."""

    matrix: Float[Tensor, "m n"]
    notes: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_floating("matrix", self.matrix)
        if self.matrix.ndim != 2:
            raise ValueError(f"matrix: expected shape (m, n), got {tuple(self.matrix.shape)}")

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def rank(self) -> int:
        """min(m, n), an upper bound of the rank."""
        return min(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Kind of the matrix."""
        return self.matrix.dtype

    def dense(self) -> Float[Tensor, "m n"]:
        """The matrix itself."""
        return self.matrix

    def to(self, dtype: torch.dtype) -> Dense:
        """The same in another kind of number."""
        return replace(self, matrix=self.matrix.to(dtype))

    def scaled(self, factor: float | Tensor) -> Dense:
        """factor·ΔW."""
        return replace(self, matrix=self.matrix * factor)

    def norm(self) -> Tensor:
        """Frobenius norm, ()."""
        return torch.linalg.matrix_norm(self.matrix)

    def svd(self) -> tuple[Float[Tensor, "m k"], Float[Tensor, " k"], Float[Tensor, "k n"]]:
        """U, σ descending, Vᵀ with k = min(m, n)."""
        return torch.linalg.svd(self.matrix, full_matrices=False)

    def truncated(self, rank: int) -> LowRank:
        """The nearest matrix of rank ≤ ``rank`` (Eckart & Young 1936), its factors balanced as U√σ and √σVᵀ."""
        u, s, vh = self.svd()
        return balanced(u[:, :rank], s[:rank], vh[:rank], notes=self.notes)


Delta: TypeAlias = LowRank | Dense
"""The change of one weight, in either form; both have shape, rank, dense, to, scaled, norm, svd and truncated."""


def balanced(
    u: Float[Tensor, "m k"],
    s: Float[Tensor, " k"],
    vh: Float[Tensor, "k n"],
    *,
    notes: Mapping[str, float] | None = None,
) -> LowRank:
    """U diag(σ) Vᵀ as factors of equal size, which half precision keeps best."""
    root = s.sqrt()
    return LowRank(u * root, root.unsqueeze(-1) * vh, dict(notes or {}))


def stack(deltas: list[LowRank]) -> LowRank:
    """Σ ΔW_t with the factors side by side: exact, of rank Σ r_t."""
    return LowRank(torch.cat([d.left for d in deltas], 1), torch.cat([d.right for d in deltas], 0))


def relative_difference(a: Delta, b: Delta) -> float:
    """‖a − b‖_F / ‖b‖_F in float64, without a dense matrix where both are factors; 0 for two zeros."""
    a, b = a.to(torch.float64), b.to(torch.float64)
    if isinstance(a, LowRank) and isinstance(b, LowRank):
        # one joint QR a side: the cancellation then happens between the small cores, to machine precision
        difference = stack([a, b.scaled(-1.0)]).norm()
    else:
        difference = torch.linalg.matrix_norm(a.dense() - b.dense())
    size = b.norm()
    if not bool(size > 0):
        return 0.0 if not bool(difference > 0) else float("inf")
    return float(difference / size)

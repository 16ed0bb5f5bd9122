"""The joint basis of a weight's updates: all of them as small cores between two common orthonormal frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.delta import Delta, Dense, LowRank

__all__ = ["Joint", "join"]


@dataclass(frozen=True, eq=False)
class Joint:
    """T updates of one weight in a common basis: ΔW_t = left @ cores[t] @ rightᵀ, exactly.

    left spans all columns of the updates and right all their rows, so nothing is lost, and because both are
    orthonormal, norms, inner products, singular values and angles of the updates are those of their cores.
    With R = Σ r_t, a = min(m, R) and b = min(n, R); a side without room for R columns is the identity, kept as None.
    A module that leaves the weight alone has a zero core and rank 0.

    Attributes:
        name: the weight's name.
        left: (m, a) with orthonormal columns, or None for the identity (a = m).
        right: (n, b) with orthonormal columns, or None for the identity (b = n).
        cores: (T, a, b).
        ranks: r_t, upper bounds of the cores' ranks.
        error: largest relative error ‖left @ core @ rightᵀ − ΔW_t‖/‖ΔW_t‖ of the way into the basis and back.
    """

    name: str
    left: Float[Tensor, "m a"] | None
    right: Float[Tensor, "n b"] | None
    cores: Float[Tensor, "t a b"]
    ranks: tuple[int, ...]
    error: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n), the weight's shape as a matrix (out, in)."""
        a, b = self.cores.shape[1:]
        return a if self.left is None else self.left.shape[0], b if self.right is None else self.right.shape[0]

    @property
    def present(self) -> list[int]:
        """Which modules change this weight."""
        return [t for t, rank in enumerate(self.ranks) if rank > 0]

    def delta(self, core: Float[Tensor, "a b"], *, notes: Mapping[str, float] | None = None) -> Delta:
        """left @ core @ rightᵀ, as factors unless both sides are the identity."""
        if self.left is not None and self.right is None:
            return LowRank(self.left, core, dict(notes or {}))
        if self.right is not None:
            return LowRank(self._out(core), self.right.mT, dict(notes or {}))
        return Dense(core, dict(notes or {}))

    def factors(
        self, left: Float[Tensor, "a k"], right: Float[Tensor, "k b"], *, notes: Mapping[str, float] | None = None
    ) -> LowRank:
        """The core left @ right, given by its factors, in the weight's own coordinates."""
        return LowRank(self._out(left), right if self.right is None else right @ self.right.mT, dict(notes or {}))

    def dense(self, core: Float[Tensor, "a b"]) -> Float[Tensor, "m n"]:
        """left @ core @ rightᵀ as a matrix."""
        inside = self._out(core)
        return inside if self.right is None else inside @ self.right.mT

    def _out(self, columns: Float[Tensor, "a k"]) -> Float[Tensor, "m k"]:
        return columns if self.left is None else self.left @ columns


def join(name: str, deltas: Sequence[Delta | None], *, dtype: torch.dtype = torch.float64) -> Joint:
    """Bring the updates of one weight into their joint basis; lossless, and no m×n matrix is formed for factors.

    QR of the stacked left factors and of the stacked right ones, each R columns: left @ R_left,t @ R_right,tᵀ @ rightᵀ
    (Core Space, Panariello et al. 2025, arXiv:2509.17786, with QR for its SVD; where R exceeds a side, the identity
    stands for that side, which the paper excludes). A single dense update makes both sides the identity.

    Args:
        name: the weight's name, for errors.
        deltas: one update a module, None where a module leaves the weight alone.
        dtype: the kind in which cores and bases are computed.

    Raises:
        ValueError: if all are None or shapes differ.

    Example:
        >>> a = LowRank(torch.eye(4)[:, :1], torch.ones(1, 3))
        >>> joint = join("w", [a, None])
        >>> joint.left.shape, joint.right.shape, joint.cores.shape, joint.ranks
        (torch.Size([4, 1]), torch.Size([3, 1]), torch.Size([2, 1, 1]), (1, 0))
    """
    present = [d for d in deltas if d is not None]
    if not present:
        raise ValueError(f"{name}: expected at least one module that changes this weight, got none")
    (m, n), *others = {d.shape: None for d in present}
    if others:
        raise ValueError(f"{name}: expected updates of one shape, got {(m, n)} and {others[0]}")
    ranks = tuple(0 if d is None else d.rank for d in deltas)
    if any(isinstance(d, Dense) for d in present):
        cores = torch.stack([_matrix(d, (m, n), dtype) for d in deltas])
        return Joint(name, None, None, cores, ranks)
    factors = [d.to(dtype) for d in present if isinstance(d, LowRank)]
    left, parts_left = _side([f.left for f in factors])
    right, parts_right = _side([f.right.mT for f in factors])
    small = iter([p @ q.mT for p, q in zip(parts_left, parts_right, strict=True)])
    a, b = parts_left[0].shape[0], parts_right[0].shape[0]
    cores = torch.stack([torch.zeros(a, b, dtype=dtype) if d is None else next(small) for d in deltas])
    if left is None and right is None:
        return Joint(name, None, None, cores, ranks)
    error = max(_error(f, left, p, right, q) for f, p, q in zip(factors, parts_left, parts_right, strict=True))
    return Joint(name, left, right, cores, ranks, error)


def _side(columns: list[Tensor]) -> tuple[Tensor | None, list[Tensor]]:
    """An orthonormal basis of all columns and each block's coordinates; the identity where it would be square."""
    sizes = [c.shape[1] for c in columns]
    if sum(sizes) >= columns[0].shape[0]:
        return None, columns
    basis, coordinates = torch.linalg.qr(torch.cat(columns, 1))
    return basis, list(coordinates.split(sizes, 1))


def _error(f: LowRank, left: Tensor | None, p: Tensor, right: Tensor | None, q: Tensor) -> float:
    """Upper bound of ‖left p qᵀ rightᵀ − ΔW‖/‖ΔW‖ from what each side loses: ‖E_B A‖ ≤ ‖E_B‖‖A‖, and likewise."""
    size = torch.linalg.matrix_norm(p @ q.mT)
    if not bool(size > 0):
        return 0.0
    lost_left = torch.zeros_like(size) if left is None else torch.linalg.matrix_norm(f.left - left @ p)
    lost_right = torch.zeros_like(size) if right is None else torch.linalg.matrix_norm(f.right.mT - right @ q)
    bound = lost_left * torch.linalg.matrix_norm(q) + lost_right * torch.linalg.matrix_norm(p)
    return float(bound / size)


def _matrix(delta: Delta | None, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype) if delta is None else delta.to(dtype).dense()

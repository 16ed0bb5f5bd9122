"""The joint basis of a weight's updates: all of them as small cores between two common orthonormal frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.way_error import PROBES, bound_error, dense_error, measured_error

__all__ = ["Joint", "join", "require_core_kind"]

_GRAM_LIMITS = (2e3, 1e8)
"""Squared condition numbers up to which one Cholesky factor, or two, leave no more than 1e-12 of an error in float64;
float32 has no such digits to lose, so that its frames come from Householder's QR."""


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
        error: largest relative error ‖left @ core @ rightᵀ − ΔW_t‖/‖ΔW_t‖ of the way into the basis and back,
            estimated from random combinations of the factors' columns; inf where an update is not finite.
        parts: the factors in the basis, cores[t] = parts[t][0] @ parts[t][1] of shapes (a, r_t) and (r_t, b), where
            all updates are factors; empty where one is dense.
        updates: the updates as they came, None where a module leaves the weight alone; empty if not known.
    """

    name: str
    left: Float[Tensor, "m a"] | None
    right: Float[Tensor, "n b"] | None
    cores: Float[Tensor, "t a b"]
    ranks: tuple[int, ...]
    error: float = 0.0
    parts: tuple[tuple[Float[Tensor, "a _"], Float[Tensor, "_ b"]], ...] = ()
    updates: tuple[Delta | None, ...] = ()

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

    def rows(self, inside: Float[Tensor, "a n"], *, notes: Mapping[str, float] | None = None) -> Delta:
        """left @ inside, given in the weight's own columns."""
        if self.left is None:
            return Dense(inside, dict(notes or {}))
        return LowRank(self.left, inside, dict(notes or {}))

    def dense(self, core: Float[Tensor, "a b"]) -> Float[Tensor, "m n"]:
        """left @ core @ rightᵀ as a matrix."""
        inside = self._out(core)
        return inside if self.right is None else inside @ self.right.mT

    def packed(self) -> Callable[[], Joint]:
        """What makes this joint basis again, in less memory: cores from their parts, frames in the updates' kind."""
        kinds = {u.dtype for u in self.updates if u is not None}
        if not self.parts or len(kinds) != 1:
            return lambda: self
        kind, dtype = kinds.pop(), self.cores.dtype
        kind = torch.promote_types(kind, torch.float32)
        left, right = (None if x is None else x.to(kind) for x in (self.left, self.right))
        name, ranks, error, parts, updates = self.name, self.ranks, self.error, self.parts, self.updates

        def unpack() -> Joint:
            cores = torch.stack([p @ q for p, q in parts])
            outer, inner = (None if x is None else x.to(dtype) for x in (left, right))
            return Joint(name, outer, inner, cores, ranks, error, parts, updates)

        return unpack

    def _out(self, columns: Float[Tensor, "a k"]) -> Float[Tensor, "m k"]:
        return columns if self.left is None else self.left @ columns


def join(name: str, deltas: Sequence[Delta | None], *, dtype: torch.dtype = torch.float64) -> Joint:
    """Bring the updates of one weight into their joint basis; lossless, and no m×n matrix is formed for factors.

    QR of the stacked left factors and of the stacked right ones, R columns each: left @ R_left,t @ R_right,tᵀ @ rightᵀ
    (Core Space, Panariello et al. 2025, arXiv:2509.17786, with QR for its SVD; where R exceeds a side, the identity
    stands for that side, which the paper excludes). A single dense update makes both sides the identity.

    Args:
        name: the weight's name, for errors.
        deltas: one update a module, None where a module leaves the weight alone.
        dtype: the kind in which cores and bases are computed, float32 or float64.

    Raises:
        ValueError: if all are None, shapes differ, or for another dtype.

    Example:
        >>> a = LowRank(torch.eye(4)[:, :1], torch.ones(1, 3))
        >>> joint = join("w", [a, None])
        >>> joint.left.shape, joint.right.shape, joint.cores.shape, joint.ranks
        (torch.Size([4, 1]), torch.Size([3, 1]), torch.Size([2, 1, 1]), (1, 0))
    """
    require_core_kind(dtype)
    present = [d for d in deltas if d is not None]
    if not present:
        raise ValueError(f"{name}: expected at least one module that changes this weight, got none")
    (m, n), *others = {d.shape: None for d in present}
    if others:
        raise ValueError(f"{name}: expected updates of one shape, got {(m, n)} and {others[0]}")
    ranks = tuple(0 if d is None else d.rank for d in deltas)
    if any(isinstance(d, Dense) for d in present):
        cores = torch.stack([_matrix(d, (m, n), dtype) for d in deltas])
        error = max(dense_error(d, core) for d, core in zip(deltas, cores, strict=True) if d is not None)
        return Joint(name, None, None, cores, ranks, error, updates=tuple(deltas))
    factors = [d.to(dtype) for d in present if isinstance(d, LowRank)]
    left, parts_left, lost_left = _side([f.left for f in factors])
    right, parts_right, lost_right = _side([f.right.mT for f in factors])
    halves = [(p, q.mT) for p, q in zip(parts_left, parts_right, strict=True)]
    a, b = parts_left[0].shape[0], parts_right[0].shape[0]
    none, own = (torch.zeros(a, 0, dtype=dtype), torch.zeros(0, b, dtype=dtype)), iter(halves)
    parts = tuple(none if d is None else next(own) for d in deltas)
    cores = torch.stack([p @ q for p, q in parts])
    exact = all(torch.promote_types(d.dtype, dtype) == dtype for d in present)
    error = 0.0
    if dtype == torch.float64:
        error = bound_error(halves, lost_left, lost_right)
    if dtype != torch.float64 or left is None or right is None or not exact:
        # the bound above knows neither what the product on an identity side rounds away nor what the cast does, and
        # of float32 it asks √r too much: there the way itself is measured, against the factors as they came
        error = max(error, measured_error(deltas, cores, left, right))
    return Joint(name, left, right, cores, ranks, error, parts, tuple(deltas))


def require_core_kind(dtype: torch.dtype) -> None:
    """Raise ``ValueError`` unless cores and bases can be computed in ``dtype``."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"dtype: expected torch.float32 or torch.float64, in which bases can be computed, got {dtype}; "
            "modules of half precision merge in either and come back in their own kind"
        )


def _side(columns: list[Tensor]) -> tuple[Tensor | None, list[Tensor], Tensor]:
    """An orthonormal basis of all columns, each block's coordinates, and how much of each is lost.

    Where the basis would be square it is the identity. The loss ‖columns_t − basis @ coordinates_t‖ is estimated from
    the columns added up with random signs.
    """
    sizes = [c.shape[1] for c in columns]
    nothing = torch.zeros(len(columns), dtype=columns[0].dtype)
    if sum(sizes) >= columns[0].shape[0]:
        return None, columns, nothing
    together = torch.cat(columns, 1)
    basis, coordinates = _orthonormal(together)
    generator = torch.Generator().manual_seed(0)
    probes = [torch.randint(2, (size, PROBES), generator=generator).to(nothing.dtype) * 2 - 1 for size in sizes]
    signs = torch.block_diag(*probes)
    lost = together @ signs - basis @ (coordinates @ signs)
    lost = lost.square().sum(0).reshape(len(columns), PROBES).mean(1).sqrt()
    return basis, list(coordinates.split(sizes, 1)), lost


def _orthonormal(a: Tensor) -> tuple[Tensor, Tensor]:
    """Q with orthonormal columns and R with QR = A, the columns of A being any.

    By the Cholesky factor of the Gram matrix, once where A is well conditioned but for its columns' lengths and twice
    where it is less so (Yamamoto et al. 2015), in a third of the time of Householder's QR, which takes the rest.
    """
    q, r = a, None
    for limit in _GRAM_LIMITS if a.dtype == torch.float64 else ():
        gram = q.mT @ q
        lengths = gram.diagonal().sqrt()
        gram = gram / lengths / lengths.unsqueeze(-1)
        factor, failed = torch.linalg.cholesky_ex(gram)
        inverse = torch.linalg.solve_triangular(
            factor, torch.eye(len(gram), dtype=a.dtype, device=a.device), upper=False
        )
        # at least the square of the condition number; NaN from zero columns or a failed factor compares as too large
        condition = gram.abs().sum(0).amax() * inverse.square().sum()
        if bool(failed) or not bool(condition <= _GRAM_LIMITS[-1]):
            break
        q, step = q @ (inverse / lengths).mT, factor.mT * lengths
        r = step if r is None else step @ r
        if bool(condition <= limit):
            return q, r
    return torch.linalg.qr(a)


def _matrix(delta: Delta | None, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.zeros(shape, dtype=dtype) if delta is None else delta.to(dtype).dense()

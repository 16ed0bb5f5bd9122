"""Coordinates for methods that work entry by entry: the matrix itself, the core, or KnOTS' rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta, Dense, LowRank
from hyperspectral_geo.merging.methods.spectra import numerical_rank

__all__ = ["SPACES", "Coordinates", "Frames", "Space", "coordinates", "principal_frames"]

Space: TypeAlias = Literal["raw", "core", "knots"]
SPACES = ("raw", "core")
"""What ``ties``, ``dare`` and ``della`` take as ``space``; "knots" has methods of its own."""
Frames: TypeAlias = tuple[Tensor | None, Tensor | None]
BLOCK = 1 << 15
"""Entries of a module that are worked on at a time, so that those of several stay in a processor's second cache."""
SAMPLE_STRIDE = 32
RANK_TOLERANCE = 1e-6
"""Directions whose singular value is below this times the largest are no coordinates."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The updates of one weight as matrices X_t (height, width), made row block by row block from their factors.

    Attributes:
        halves: X_t = left @ right, or right alone where left is None.
        out: the merged X as the weight's update; None where only the entries are wanted.
        height: rows of X_t.
        width: columns of X_t.
    """

    halves: tuple[tuple[Tensor | None, Tensor], ...]
    out: Callable[[Tensor], Delta] | None
    height: int
    width: int

    @property
    def dtype(self) -> torch.dtype:
        """Kind of the entries."""
        return self.halves[0][1].dtype

    def slices(self) -> Iterator[slice]:
        """Blocks of whole rows, in order."""
        rows = max(BLOCK // max(self.width, 1), 1)
        return (slice(start, min(start + rows, self.height)) for start in range(0, self.height, rows))

    def block(self, t: int, rows: slice) -> Float[Tensor, "rows width"]:
        """Rows of X_t, in memory of their own."""
        left, right = self.halves[t]
        return right[rows].clone() if left is None else left[rows] @ right

    def fill(self, rows: slice, out: Float[Tensor, "t rows width"]) -> None:
        """Rows of all X_t, written to ``out``."""
        for t, (left, right) in enumerate(self.halves):
            if left is None:
                out[t].copy_(right[rows])
            else:
                torch.mm(left[rows], right, out=out[t])

    def sample(self, t: int) -> Tensor:
        """All entries of every so-manieth column of X_t: equally many of any weight's, but for small ones."""
        left, right = self.halves[t]
        some = right[:, :: min(SAMPLE_STRIDE, max(self.width // 8, 1))]
        return some if left is None else left @ some

    def merge(self, combine: Callable[[slice], Tensor]) -> Delta:
        """The update whose coordinates ``combine`` gives for each block of rows."""
        merged = torch.empty(self.height, self.width, dtype=self.dtype)
        for rows in self.slices():
            merged[rows] = combine(rows)
        assert self.out is not None
        return self.out(merged)


def principal_frames(joint: Joint, space: Space) -> Frames:
    """Left singular vectors of [ΔW_1 … ΔW_T] and right ones of [ΔW_1; …; ΔW_T] in the joint basis, None for raw.

    Unlike the joint basis itself they depend neither on the order of the modules nor on how their factors are written.
    Core Space (Panariello et al. 2025, arXiv:2509.17786) takes the singular vectors of the stacked B and A, which
    another factoring B G, G⁻¹A of the same module turns. For "knots" only the left ones are needed.
    """
    if space == "raw":
        return None, None
    if not joint.parts:
        left = _leading(joint.cores.transpose(0, 1).flatten(1))
        return left, None if space == "knots" else _leading(joint.cores.flatten(0, 1).mT)
    # [ΔW_1 … ΔW_T] = [B_1R_1ᵀ … B_TR_Tᵀ] times orthonormal rows, with A_tᵀ = Q_tR_t
    left = _leading(torch.cat([p @ _triangle(q.mT).mT for p, q in joint.parts], 1))
    return left, None if space == "knots" else _leading(torch.cat([q.mT @ _triangle(p).mT for p, q in joint.parts], 1))


def _triangle(x: Tensor) -> Tensor:
    return torch.linalg.qr(x, mode="r")[1]


def coordinates(joint: Joint, space: Space, frames: Frames | None = None) -> Coordinates:
    """The updates of one weight in "raw" (m, n), "core" (k, l) or "knots" (k, n) coordinates.

    Computed in float32 unless a module came in float64: entries are compared, not summed.
    """
    left, right = principal_frames(joint, space) if frames is None else frames
    updates = joint.updates or tuple(joint.delta(core) for core in joint.cores)
    exact = any(u is not None and u.dtype == torch.float64 for u in updates)
    dtype = joint.cores.dtype if exact else torch.float32
    m, n = joint.shape
    halves = [_half(joint, t, update, space, left, right) for t, update in enumerate(updates)]
    halves = tuple((None if p is None else p.to(dtype), q.to(dtype)) for p, q in halves)
    height = m if left is None else left.shape[1]
    width = n if right is None else right.shape[1]

    def out(merged: Tensor) -> Delta:
        if left is None:
            return Dense(merged)
        outer = left if joint.left is None else joint.left @ left
        if right is None:
            return LowRank(outer.to(dtype), merged)
        inner = right.mT if joint.right is None else right.mT @ joint.right.mT
        return LowRank(outer.to(dtype) @ merged, inner.to(dtype))

    return Coordinates(halves, out, height, width)


def _half(
    joint: Joint, t: int, update: Delta | None, space: Space, left: Tensor | None, right: Tensor | None
) -> tuple[Tensor | None, Tensor]:
    """X_t as two factors, or whole where the update is dense."""
    if space == "raw":
        if update is None:
            return torch.zeros(joint.shape[0], 0), torch.zeros(0, joint.shape[1])
        return (update.left, update.right) if isinstance(update, LowRank) else (None, update.matrix)
    if not joint.parts:
        inside = _turn(left, joint.cores[t])
        if right is not None:
            return None, inside @ right
        return (None, inside) if joint.right is None else (inside, joint.right.mT)
    p, q = joint.parts[t]
    if right is not None:
        return _turn(left, p), q @ right
    # KnOTS' columns are the weight's own, so that a module's own A serves
    if isinstance(update, LowRank):
        return _turn(left, p), update.right
    return _turn(left, p), q if joint.right is None else q @ joint.right.mT


def _turn(frame: Tensor | None, x: Tensor) -> Tensor:
    return x if frame is None else frame.mT @ x


def _leading(beside: Tensor) -> Tensor:
    """Left singular vectors, the long way first shortened by a QR."""
    square = _triangle(beside.mT).mT if beside.shape[1] > beside.shape[0] else beside
    u, s, _ = torch.linalg.svd(square, full_matrices=False)
    return u[:, : max(numerical_rank(s, RANK_TOLERANCE), 1)]

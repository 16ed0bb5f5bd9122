"""The updates of one weight by several modules, in a common basis that grows and shrinks as modules come and go."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hyperspectral_geo.merging.delta import Delta, LowRank
from hyperspectral_geo.validation import require_finite

__all__ = ["JointUpdate"]

# A direction that the basis holds up to this share of its length is not new.
_KNOWN = 1e-5


class JointUpdate(nn.Module):
    """Σ w_t ΔW_t = left @ (Σ_j w_owner(j) outs_j insⱼᵀ) @ rightᵀ: what a weight gains from T modules of weights w.

    ``left`` (m, a) and ``right`` (n, b) are orthonormal and common to all modules; column j of ``outs`` (a, K) and
    ``ins`` (b, K) belongs to module ``owner[j]``, of whose update ``sizes[j]`` is a singular value. Weights only
    rescale columns, so a new mixture costs O(a·b·K) and no m×n matrix is formed. All tensors are buffers:
    ``state_dict`` keeps them and ``to`` moves them. Each change puts new tensors in their place, so that a caller who
    kept the old ones can put them back.

    Args:
        shape: (m, n).
        rank: most directions a side, None for all: then nothing is ever lost.
        like: dtype and device; of half precision, the bases are kept in float32, in which they can be found.
    """

    def __init__(self, shape: tuple[int, int], *, rank: int | None = None, like: Tensor) -> None:
        super().__init__()
        m, n = shape
        self.rank = rank
        self.left: Float[Tensor, "m a"]
        self.right: Float[Tensor, "n b"]
        self.outs: Float[Tensor, "a k"]
        self.ins: Float[Tensor, "b k"]
        self.sizes: Float[Tensor, " k"]
        self.owner: Int[Tensor, " k"]
        self.core: Float[Tensor, "a b"]
        empty = {"left": (m, 0), "right": (n, 0), "outs": (0, 0), "ins": (0, 0), "sizes": (0,), "core": (0, 0)}
        for name, size in empty.items():
            self.register_buffer(name, like.new_empty(size, dtype=working_kind(like.dtype)))
        self.register_buffer("owner", torch.empty(0, dtype=torch.int64, device=like.device))

    @torch.no_grad()
    def add(self, delta: Delta, owner: int) -> None:
        """Take in a module's update by a QR update of both sides: O((m + n)·a·r), and the other modules stay.

        Raises:
            ValueError: for entries that are not finite.
        """
        for side in (delta.left, delta.right) if isinstance(delta, LowRank) else (delta.matrix,):
            require_finite("update", side)
        self._compact()
        left, right, sizes = (part.to(self.left) for part in _factors(delta))
        self.sizes = torch.cat([self.sizes, sizes])
        self.left, self.outs = _extended(self.left, self.outs, left)
        self.right, self.ins = _extended(self.right, self.ins, right)
        self.owner = torch.cat([self.owner, torch.full_like(self.owner.new_empty(left.shape[1]), owner)])
        if self.rank is not None:
            self._truncate(self.rank)

    @torch.no_grad()
    def remove(self, owner: int) -> None:
        """Drop a module's columns; the basis stays, so the other modules' updates do not change by a bit."""
        kept = self.owner != owner
        self.outs, self.ins = self.outs[:, kept], self.ins[:, kept]
        self.sizes, self.owner = self.sizes[kept], self.owner[kept]

    def mixed(self, weights: Float[Tensor, " t"]) -> Float[Tensor, "a b"]:
        """The core of Σ w_t ΔW_t."""
        return (self.outs * weights[self.owner]) @ self.ins.mT

    def update(self, owner: int) -> LowRank:
        """ΔW_t as the basis holds it."""
        mine = self.owner == owner
        return LowRank(self.left @ self.outs[:, mine], (self.right @ self.ins[:, mine]).mT)

    def project(self, inside: Float[Tensor, "*batch b"], weights: Tensor | None) -> Float[Tensor, "*items m"]:
        """From the right basis' coordinates to the output: by ``core``, or by each request's own weights.

        Args:
            inside: x @ right.
            weights: (requests, T), one row for each item of the first dimension, or one row for all; None for ``core``.
        """
        if weights is None:
            return (inside @ self.core.mT) @ self.left.mT
        columns = weights[:, self.owner]
        # one row for all also serves an input without a batch, so it must add no dimension
        columns = columns[0] if len(weights) == 1 else columns.reshape(len(weights), *[1] * (inside.ndim - 2), -1)
        return (((inside @ self.ins) * columns) @ self.outs.mT) @ self.left.mT

    def _compact(self) -> None:
        """Turn the bases to what is in use, once directions of modules that have left are more than half of them."""
        if self.left.shape[1] > 2 * len(self.owner):
            turn, self.outs = torch.linalg.qr(self.outs)
            self.left = self.left @ turn
        if self.right.shape[1] > 2 * len(self.owner):
            turn, self.ins = torch.linalg.qr(self.ins)
            self.right = self.right @ turn

    def _truncate(self, rank: int) -> None:
        """Keep, a side, the directions in which the modules' updates have most energy.

        With columns U√σ and V√σ the moments of all updates, Σ ΔW_t ΔW_tᵀ, are Σ_j σ_j outs_j outs_jᵀ in the basis.
        """
        if self.outs.shape[0] > rank:
            into = _leading(self.outs, self.sizes, rank)
            self.left, self.outs = self.left @ into, into.mT @ self.outs
        if self.ins.shape[0] > rank:
            into = _leading(self.ins, self.sizes, rank)
            self.right, self.ins = self.right @ into, into.mT @ self.ins


def working_kind(dtype: torch.dtype) -> torch.dtype:
    """The kind in which bases are found and kept: LAPACK knows no half precision."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _factors(delta: Delta) -> tuple[Tensor, Tensor, Tensor]:
    """U√σ, V√σ and σ, without zeros: of unequal factors, one side's small columns would pass for known."""
    u, s, vh = delta.to(working_kind(delta.dtype)).svd()
    kept = int((s > s[:1] * torch.finfo(s.dtype).eps).sum())
    root = s[:kept].sqrt()
    return u[:, :kept] * root, vh[:kept].mT * root, s[:kept]


def _extended(basis: Tensor, coordinates: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of ``basis`` and ``columns``, and the coordinates with those of ``columns`` appended."""
    inside = basis.mT @ columns
    rest = columns - basis @ inside
    # a second pass: what is left of nearly known columns is otherwise not orthogonal to the basis
    again = basis.mT @ rest
    inside, rest = inside + again, rest - basis @ again
    new, s, vh = torch.linalg.svd(rest, full_matrices=False)
    known = _KNOWN if rest.dtype == torch.float32 else _KNOWN**2
    size = torch.linalg.matrix_norm(columns, 2) if columns.numel() else columns.new_zeros(())
    room = basis.shape[0] - basis.shape[1]
    fresh = torch.nonzero(s > known * size).flatten()[:room]
    # singular vectors of tiny remainders lean into the basis again
    new = new[:, fresh] - basis @ (basis.mT @ new[:, fresh])
    new, triangle = torch.linalg.qr(new)
    added = triangle @ (s[fresh].unsqueeze(1) * vh[fresh])
    blank = coordinates.new_zeros(len(fresh), coordinates.shape[1])
    columns_now = torch.cat([torch.cat([coordinates, blank]), torch.cat([inside, added])], 1)
    return torch.cat([basis, new], 1), columns_now


def _leading(columns: Tensor, sizes: Tensor, rank: int) -> Tensor:
    """Leading eigenvectors of C diag(σ) Cᵀ, (a, rank); in float64, since squaring halves the digits."""
    weighted = (columns * sizes.sqrt()).double()
    return torch.linalg.eigh(weighted @ weighted.mT)[1][:, -rank:].flip(-1).to(columns.dtype)

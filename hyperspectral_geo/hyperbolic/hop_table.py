"""True distances to be judged on or fitted to, row by row, and which of their pairs are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from hyperspectral_geo.hyperbolic.hop_store import HopStore
from hyperspectral_geo.hyperbolic.predictions import rows_at_once
from hyperspectral_geo.hyperbolic.splits import HeldOut

__all__ = ["Held", "HopRows", "HopTable", "Hops", "training_pairs", "walk_lengths"]

Hops = Tensor | HopStore
"""(m, n) distances from some nodes to all: whole numbers with −1 for no walk, or real ones with −1 or infinity."""

Held = HeldOut | Tensor | Callable[[Tensor, Tensor], Tensor]
"""Pairs held out: by hashing, as a boolean table like the distances, or as a function of sources and targets."""


class HopRows(NamedTuple):
    """Some rows of a table.

    Attributes:
        sources: (m,) node numbers.
        hops: (m, n) float64, infinite where there is no walk.
        held: (m, n) which pairs are held out; never a node and itself.
    """

    sources: Int[Tensor, " m"]
    hops: Float[Tensor, "m n"]
    held: Bool[Tensor, "m n"]


@dataclass(frozen=True, eq=False)
class HopTable:
    """Distances and the pairs held out, seen to fit together; made by ``HopTable.over``.

    Attributes:
        hops: (m, n), as ``hop_counts`` gives them.
        sources: (m,) the node of each row.
        nodes: n.
        held: None if all pairs are.
    """

    hops: Hops
    sources: Int[Tensor, " m"]
    nodes: int
    held: Held | None

    @classmethod
    def over(cls, hops: Hops, *, sources: Int[Tensor, " m"] | None = None, held: Held | None = None) -> HopTable:
        """Check the shapes.

        Args:
            hops: (n, n), or (m, n) with ``sources``, or a ``HopStore``, which knows its sources.
            sources: the node of each row; by default all nodes.
            held: as ``HeldOut``, a boolean (m, n), or a function from (m,) sources and (n,) targets to one.

        Raises:
            ValueError: for shapes that do not fit, or a dtype that holds no distances.
        """
        if isinstance(hops, HopStore):
            shape, sources = (len(hops), hops.nodes), hops.sources
        elif not isinstance(hops, Tensor) or hops.ndim != 2 or hops.dtype == torch.bool or hops.is_complex():
            got = f"{hops.dtype} {tuple(hops.shape)}" if isinstance(hops, Tensor) else type(hops).__name__
            raise ValueError(f"hops: expected real distances of shape (m, n), got {got}; see hop_counts")
        else:
            shape = tuple(hops.shape)
        if sources is None and shape[0] != shape[1]:
            raise ValueError(f"hops: expected shape (n, n), or (m, n) with sources, got {shape}")
        sources = torch.arange(shape[1]) if sources is None else sources
        if sources.shape != shape[:1] or sources.is_floating_point() or sources.dtype == torch.bool:
            got = f"{sources.dtype} {tuple(sources.shape)}"
            raise ValueError(f"sources: expected a node number for each of {shape[0]} rows of hops, got {got}")
        if len(sources) and not 0 <= int(sources.min()) <= int(sources.max()) < shape[1]:
            raise ValueError(f"sources: expected nodes from 0 to {shape[1] - 1}, got others")
        if isinstance(held, Tensor) and (held.shape != shape or held.dtype != torch.bool):
            raise ValueError(f"held: expected a boolean mask of shape {shape}, got {held.dtype} {tuple(held.shape)}")
        if isinstance(held, HeldOut) and held.nodes != shape[1]:
            raise ValueError(f"held: expected pairs of {shape[1]} nodes, got pairs of {held.nodes}")
        return cls(hops, sources, shape[1], held)

    def blocks(self, block: int | None = None) -> Iterator[HopRows]:
        """All rows, ``block`` at a time; by default as many as 32 MB hold.

        Raises:
            ValueError: for a distance that is none: NaN, negative other than −1, 0 between two nodes, or another than
                0 from a node to itself.
        """
        height = rows_at_once(self.nodes, block)
        for low in range(0, len(self.sources), height):
            part = slice(low, low + height)
            some = self.sources[part]
            hops = walk_lengths(self.hops[part])
            itself = some[:, None] == torch.arange(self.nodes)
            _require_distances(hops, itself, some)
            yield HopRows(some, hops, self._held(part, some) & ~itself)

    def _held(self, part: slice, some: Tensor) -> Tensor:
        shape = (len(some), self.nodes)
        if self.held is None:
            return torch.ones(shape, dtype=torch.bool)
        if isinstance(self.held, Tensor):
            return self.held[part]
        mask = self.held.mask if isinstance(self.held, HeldOut) else self.held
        found = mask(some, torch.arange(self.nodes))
        if not isinstance(found, Tensor) or found.shape != shape or found.dtype != torch.bool:
            got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"held: expected a function that gives a boolean mask of shape {shape}, got {got}")
        return found


def walk_lengths(hops: Tensor) -> Float[Tensor, "*shape"]:
    """Distances in float64 on the CPU, infinite instead of −1 where there is no walk."""
    hops = hops.to("cpu", torch.float64)
    return torch.where(hops == -1, torch.inf, hops)


def training_pairs(hops: Real[Tensor, "n n"], *, held: Held | None = None) -> Real[Tensor, "n n"]:
    """A copy of all distances in which held-out pairs look as if no walk joined them: −1.

    Raises:
        ValueError: as ``HopTable``; if nothing is left.

    Example:
        >>> training_pairs(torch.tensor([[0, 1, 2], [-1, 0, 3], [4, 5, 0]]), held=torch.eye(3).flip(0).bool())
        tensor([[ 0,  1, -1],
                [-1,  0,  3],
                [-1,  5,  0]])
    """
    table = HopTable.over(hops, held=held)
    if not isinstance(hops, Tensor):
        raise ValueError(f"hops: expected a tensor with all pairs, got {type(hops).__name__}; pass store[:]")
    left = hops.to("cpu", torch.promote_types(hops.dtype, torch.int8), copy=True)
    for rows in table.blocks():
        unseen = rows.hops.isinf() if held is None else rows.hops.isinf() | rows.held
        left[rows.sources] = left[rows.sources].masked_fill(unseen, -1)
    if not bool((left > 0).any()):
        raise ValueError("hops: expected pairs to train on, got none that is joined by a walk and not held out")
    return left


def _require_distances(hops: Tensor, itself: Tensor, sources: Tensor) -> None:
    wrong = hops.isnan() | (hops < 0) | ((hops == 0) != itself)
    if bool(wrong.any()):
        row, target = wrong.nonzero()[0].tolist()
        raise ValueError(
            "hops: expected distances above 0, -1 or infinity for no walk, and 0 from a node to itself, "
            f"got {hops[row, target].item():g} from node {int(sources[row])} to node {target}; see hop_counts"
        )

"""Compress, then merge: each module cut to a rank before another method joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.merging.core import Joint
from hyperspectral_geo.merging.delta import Delta
from hyperspectral_geo.merging.methods.spectra import module_svd
from hyperspectral_geo.merging.methods.svd import require_rank

if TYPE_CHECKING:
    from hyperspectral_geo.merging.methods.method import Method

__all__ = ["compress", "prepare_compress", "truncate"]


def compress(
    joint: Joint, weights: Float[Tensor, " t"], *, module_rank: int, inner: str = "tsv", **options: Any
) -> Delta:
    """``inner`` on the modules' best approximations of rank ≤ ``module_rank`` (Compress-then-Merge, arXiv:2606.03723).

    Small singular directions of a module are mostly noise of its training; without them the others are disturbed less.

    Args:
        joint: the updates of one weight, cores (T, a, b).
        weights: w_t, (T,), as ``inner`` allows.
        module_rank: largest rank of a module.
        inner: name of the method that joins them.
        options: of that method.

    Raises:
        ValueError: for a rank below 1, an unknown method, or options that it does not have.
    """
    method = _inner(inner, module_rank)
    method.require_options([name for name in options if name not in method.prepared], method=inner)
    return method.layer(truncate(joint, module_rank), weights, **options)


def prepare_compress(
    joints: Iterable[Joint], *, module_rank: int, inner: str = "tsv", **options: Any
) -> Mapping[str, Any]:
    """What ``inner`` has to know of all weights, found on the truncated modules."""
    method = _inner(inner, module_rank)
    method.require_options(options, method=inner)
    if method.prepare is None:
        return {}
    return method.prepare(_Mapped(joints, lambda joint: truncate(joint, module_rank)), **options)


def truncate(joint: Joint, rank: int) -> Joint:
    """The same joint basis with every module cut to its leading ``rank`` singular directions."""
    parts, updates = [], []
    for t in range(len(joint.ranks)):
        u, s, vh = module_svd(joint, t)
        parts.append((u[:, :rank] * s[:rank], vh[:rank]))
        updates.append(joint.factors(*parts[t]) if joint.ranks[t] else None)
    ranks = tuple(min(r, rank) for r in joint.ranks)
    cores = torch.stack([left @ right for left, right in parts])
    return replace(joint, cores=cores, ranks=ranks, parts=tuple(parts), updates=tuple(updates))


def _inner(name: str, rank: int) -> Method:
    from hyperspectral_geo.merging.methods import METHODS

    require_rank(rank, "module_rank")
    if name not in METHODS or name == "compress":
        raise ValueError(
            f"inner: expected another method, one of {', '.join(m for m in METHODS if m != 'compress')}, got {name!r}"
        )
    return METHODS[name]


class _Mapped(Iterable[Joint]):
    """Joint bases changed one at a time, for as many passes as are asked for."""

    def __init__(self, joints: Iterable[Joint], change: Callable[[Joint], Joint]) -> None:
        self._joints, self._change = joints, change

    def __iter__(self) -> Iterator[Joint]:
        return map(self._change, self._joints)

"""Statistics of the modules' inputs and gradients, handed to a method weight by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["PerModule", "grams_of", "statistics_of"]

PerModule: TypeAlias = Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]
"""By weight name a stack with one item a module, or one such mapping a module."""


def grams_of(option: str, given: PerModule, name: str, count: int, columns: int) -> Tensor:
    """Gram matrices of one weight's inputs in float64: (T, n, n), or (T, n) where only the diagonals are given.

    Raises:
        ValueError: if the weight is missing, the shape is another, or a number is not finite.
    """
    shape = (count, columns, columns)
    items = [given.get(name)] if isinstance(given, Mapping) else [one.get(name) for one in given]
    got = [None if x is None else tuple(x.shape) for x in items]
    if any(x is None for x in got) or len(set(got)) != 1:
        found = "none" if not got or None in got else f"several shapes, {', '.join(map(str, got))}"
        raise ValueError(
            f"{option}: {name}: expected Gram matrices of shape {shape}, got {found}; collect them with "
            "merging.activation_grams"
        )
    tensors = [x for x in items if x is not None]
    found = tensors[0] if isinstance(given, Mapping) else torch.stack(tensors)
    if tuple(found.shape) not in (shape, shape[:2]):
        raise ValueError(f"{option}: {name}: expected Gram matrices of shape {shape}, got {tuple(found.shape)}")
    found = found.to(torch.float64)
    if not bool(found.isfinite().all()):
        raise ValueError(f"{option}: {name}: expected finite Gram matrices; look for NaN or infinities in the inputs")
    return found


def statistics_of(
    option: str, given: PerModule, name: str, shape: tuple[int, ...], dtype: torch.dtype, made_by: str
) -> Tensor:
    """The statistics of one weight, (T, …) = ``shape``.

    Raises:
        ValueError: if the weight is missing, the shape is another, or a number is not finite.
    """
    try:
        found = given[name] if isinstance(given, Mapping) else torch.stack([one[name] for one in given])
    except KeyError:
        raise ValueError(
            f"{option}: expected an entry for {name!r}, found none; collect it with {made_by}, or give this weight "
            "another method by LayerRule(pattern, method='linear')"
        ) from None
    if tuple(found.shape) != shape:
        raise ValueError(f"{option}: {name}: expected shape {shape}, one item a module, got {tuple(found.shape)}")
    found = found.to(dtype)
    if not bool(found.isfinite().all()):
        raise ValueError(f"{option}: {name}: expected finite numbers; look for NaN in the inputs of {made_by}")
    return found

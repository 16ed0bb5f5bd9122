"""Statistics of the modules' inputs and gradients, handed to a method weight by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["PerModule", "statistics_of"]

PerModule: TypeAlias = Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]
"""By weight name a stack with one item a module, or one such mapping a module."""


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

"""What ``merge`` has to know of a method besides its formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hyperspectral_geo.merging.delta import Delta

__all__ = ["Method"]


@dataclass(frozen=True)
class Method:
    """A merging method: a function of one weight's joint basis, and the facts that hold for all weights.

    Attributes:
        layer: ``layer(joint, weights, **options) -> Delta``; the updates of one weight as cores, and a weight a module.
        prepare: for what spans all weights at once, such as a threshold over the whole model:
            ``prepare(joints, **options) -> further options for layer``; ``joints`` may be iterated once.
        keeps_single: whether one module of weight 1 comes out as it went in.
        vectors: how tensors that are no matrices are merged: "sum" Σ w_t v_t, "mean" Σ w_t v_t / T over the modules
            that have them.
    """

    layer: Callable[..., Delta]
    prepare: Callable[..., Mapping[str, Any]] | None = None
    keeps_single: bool = True
    vectors: Literal["sum", "mean"] = "sum"

"""Checks of the parameters of a fusion, which its constructor stores as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hyperspectral_geo.fusion.alignment import check_count
from hyperspectral_geo.fusion.presets import PRESETS
from hyperspectral_geo.validation import require_seed

if TYPE_CHECKING:
    from hyperspectral_geo.fusion.subspace_fusion import SubspaceFusion

__all__ = ["require_parameters"]

_LEAST_SIGNIFICANCE = 1e-4  # a test at a level needs as many permutations as its inverse


def require_parameters(fusion: SubspaceFusion) -> None:
    """Raise ``ValueError`` naming the first parameter that ``fit`` cannot use."""
    if not isinstance(fusion.method, str) or fusion.method not in PRESETS:
        raise ValueError(f"method: expected one of {', '.join(PRESETS)}, got {fusion.method!r:.40}")
    if fusion.n_components is not None:
        check_count("n_components", fusion.n_components)
        if PRESETS[fusion.method].anchors:
            raise ValueError(
                f"n_components: expected None for {fusion.method!r}, whose coordinates are the training pairs, got "
                f"{fusion.n_components}; pass fewer pairs"
            )
    check_count("folds", fusion.folds)
    check_count("rank", fusion.rank)
    if fusion.folds < 2:
        raise ValueError(f"folds: expected 2 or more, got {fusion.folds}")
    require_seed(fusion.seed)
    _require_within("ridge", fusion.ridge, 0.0, math.inf)
    _require_within("significance", fusion.significance, _LEAST_SIGNIFICANCE, 1.0)


def _require_within(name: str, value: object, least: float, top: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= top:
        raise ValueError(f"{name}: expected None, or a number from {least:g} to {top:g}, got {value!r:.40}")

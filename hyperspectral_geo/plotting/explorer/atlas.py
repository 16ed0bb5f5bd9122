"""What an explorer page holds, checked: names, places, nearest concepts and factors of the predicted hops."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int8

from hyperspectral_geo.plotting.checks import as_disk_points, as_edges, as_list, as_numbers

__all__ = ["Atlas", "Nearest"]

_DIGEST = re.compile(r"[0-9a-f]{8,128}")


@dataclass(frozen=True, eq=False)
class Nearest:
    """The k nearest of each concept, nearest first.

    Attributes:
        numbers: (n, k) numbers of concepts.
        hops: (n, k) predicted hops.
    """

    numbers: Int[np.ndarray, "n k"]
    hops: Float[np.ndarray, "n k"]


@dataclass(frozen=True, eq=False)
class Atlas:
    """A model as arrays; nothing here knows how it was made.

    Attributes:
        names: n names, any text.
        places: (n, 2), in the unit disk.
        onward: nearest to go to, by d(u→·).
        source: S, (n, r) int8, and
        target: T, (n, r) int8, with
        scales: s, (r,), so that d(u→v) ≈ Σ_k s_k·S_uk·T_vk.
        mean_error: of that approximation, in hops.
        digest: of the model's file, 8 to 128 hexadecimal digits; answers given on the page carry it.
        backward: nearest to come from, by d(·→u); None where both directions are the same.
        groups: a name for each concept, None for none; chooses its colour.
        links: (e, 2), source and target; None where no graph is shown.
        own_places: whether the places are the model's own points, and not a layout made for the picture.

    Raises:
        ValueError: for arrays that do not fit each other, numbers out of range, out of order or not finite, or a digest
            that is none.
    """

    names: Sequence[str]
    places: Float[np.ndarray, "n 2"]
    onward: Nearest
    source: Int8[np.ndarray, "n r"]
    target: Int8[np.ndarray, "n r"]
    scales: Float[np.ndarray, " r"]
    mean_error: float
    digest: str
    backward: Nearest | None = None
    groups: Sequence[str | None] | None = None
    links: Int[np.ndarray, "e 2"] | None = None
    own_places: bool = False

    def __post_init__(self) -> None:
        n = len(as_list("names", self.names, count=len(self.names)))
        if n == 0:
            raise ValueError("names: expected at least one concept, got none")
        _require_shape("places", as_disk_points("places", self.places), (n, 2))
        for side, found in (("onward", self.onward), ("backward", self.backward)):
            if found is not None:
                _require_nearest(side, found, n)
        r = len(as_numbers("scales", self.scales))
        for side, factors in (("source", self.source), ("target", self.target)):
            _require_shape(side, as_numbers(side, factors), (n, r))
        if not (isinstance(self.mean_error, float) and 0 <= self.mean_error < np.inf):
            raise ValueError(f"mean_error: expected a number of hops from 0, got {self.mean_error!r}")
        if not (isinstance(self.digest, str) and _DIGEST.fullmatch(self.digest)):
            raise ValueError(f"digest: expected 8 to 128 hexadecimal digits, got {self.digest!r:.40}")
        if self.groups is not None:
            as_list("groups", self.groups, count=n)
        if self.links is not None:
            as_edges("links", self.links, count=n)

    def __len__(self) -> int:
        return len(self.names)


def _require_nearest(side: str, found: Nearest, n: int) -> None:
    numbers = np.asarray(found.numbers)
    _require_shape(f"{side}.hops", as_numbers(f"{side}.hops", found.hops), numbers.shape)
    _require_shape(f"{side}.numbers", numbers, (n, numbers.shape[-1]))
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < n:
        raise ValueError(
            f"{side}.numbers: expected numbers of concepts from 0 to {n - 1}, got {numbers.min()} to {numbers.max()}"
        )
    falls = np.argwhere(np.diff(found.hops, axis=1) < 0)
    if len(falls):
        raise ValueError(
            f"{side}.hops: expected the nearest first in every row, got another order in row {falls[0, 0]}"
        )


def _require_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")

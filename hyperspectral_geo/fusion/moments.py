"""Means and covariances of several views, added up batch by batch: all that linear fusion needs of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Moments", "mean_of_rows"]

_ROWS = 2048  # of a block, whose float64 copy stays in the cache
_COLUMNS = 256  # of a strip of the products of a view with itself, of which the upper half is made


def mean_of_rows(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """In float64, a block at a time: a float64 copy of all rows would double the memory. Of no rows it is 0."""
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    for rows in x.split(_ROWS):
        total += rows.double().sum(0)
    return total / max(1, len(x))


@dataclass
class _Sums:
    """Count, sums and sum of products x yᵀ over the rows that both views have, of samples less their shifts.

    Of a view with itself, the products below the diagonal's strips are left out. Of two views, ``lone_x`` and
    ``lone_y`` are sums of x xᵀ and of y yᵀ over the rows that lack the other view; ``None`` for no such row.
    """

    count: int
    x: Float[Tensor, " dx"]
    y: Float[Tensor, " dy"]
    products: Float[Tensor, "dx dy"]
    lone_x: Float[Tensor, "dx dx"] | None = None
    lone_y: Float[Tensor, "dy dy"] | None = None

    def __add__(self, other: _Sums) -> _Sums:
        return self._with(other, 1)

    def __sub__(self, other: _Sums) -> _Sums:
        return self._with(other, -1)

    def _with(self, other: _Sums, sign: int) -> _Sums:
        return _Sums(
            self.count + sign * other.count,
            self.x + sign * other.x,
            self.y + sign * other.y,
            self.products + sign * other.products,
            _added(self.lone_x, other.lone_x, sign),
            _added(self.lone_y, other.lone_y, sign),
        )

    def add(self, x: Tensor, y: Tensor, has_x: Tensor | None, has_y: Tensor | None) -> None:
        """Add a block, whose missing rows are zeros; a row that only one of two views has must not count at all."""
        self.count += len(x)
        if has_x is not None or has_y is not None:
            both = torch.ones(len(x), dtype=torch.bool) if has_x is None else has_x
            both = both if has_y is None else both & has_y
            self.count += int(both.sum()) - len(x)
            if has_x is not has_y:
                self.lone_x = _added(self.lone_x, _squares(x, has_y), 1)
                self.lone_y = _added(self.lone_y, _squares(y, has_x), 1)
                x, y = x * both[:, None], y * both[:, None]
        self.x += x.sum(0)
        if x is not y:
            self.y += y.sum(0)
            self.products.addmm_(x.T, y)
            return
        self.y.copy_(self.x)
        for left in range(0, x.shape[1], _COLUMNS):
            strip = x[:, left : left + _COLUMNS]
            self.products[left : left + _COLUMNS, left:].addmm_(strip.T, x[:, left:])

    def covariance(self) -> Float[Tensor, "dx dy"]:
        """Mean of (x − x̄)(y − ȳ)ᵀ over the common rows."""
        if not self.count:
            return self.products
        return (self.products - torch.outer(self.x, self.y / self.count)) / self.count


def _added(one: Tensor | None, other: Tensor | None, sign: int) -> Tensor | None:
    if one is None or other is None:
        return one if other is None else sign * other
    return one + sign * other


def _squares(x: Tensor, elsewhere: Tensor | None) -> Tensor | None:
    """Σ x xᵀ over the rows that the other view lacks; a row that this one lacks is 0."""
    if elsewhere is None or bool(elsewhere.all()):
        return None
    lone = x[~elsewhere]
    return lone.T @ lone


@dataclass(frozen=True)
class Moments:
    """Sums over rows of V views, from which means and covariances follow; parts add up and can be taken off again.

    A row may lack views. A view's own mean and covariance use all its rows, paired or not; the covariance of two views
    uses the rows that both have. Samples are shifted by a fixed vector before they are summed, so that a large common
    offset costs no digits; sums are float64.

    Attributes:
        shifts: one vector a view, (d_v,), the same in all parts that are added.
        sums: of views u ≤ v, by (u, v).

    References:
        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.

    Example:
        >>> x, y = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [6.0]])
        >>> moments = Moments.of([x, y])
        >>> moments.covariance(0, 1)
        tensor([[2.]], dtype=torch.float64)
    """

    shifts: tuple[Float[Tensor, " _"], ...]
    sums: dict[tuple[int, int], _Sums]

    @classmethod
    def of(
        cls,
        views: Sequence[Float[Tensor, "n _"]],
        *,
        present: Sequence[Bool[Tensor, " n"] | None] | None = None,
        shifts: Sequence[Float[Tensor, " _"]] | None = None,
    ) -> Moments:
        """Moments of rows.

        Args:
            views: features, one row a sample, as many rows in each.
            present: which rows a view has; ``None`` for all.
            shifts: of earlier parts; the mean of the rows where there are none.
        """
        masks = [None] * len(views) if present is None else list(present)
        if shifts is None:
            shifts = [
                mean_of_rows(view if mask is None else view[mask]) for view, mask in zip(views, masks, strict=True)
            ]
        moments = cls.nothing(shifts)
        buffers = [
            torch.empty(min(_ROWS, len(view)), len(shift), dtype=shift.dtype)
            for view, shift in zip(views, shifts, strict=True)
        ]
        for start in range(0, len(views[0]), _ROWS):
            block = slice(start, start + _ROWS)
            shifted = [
                buffer[: len(view[block])].copy_(view[block]).sub_(shift)
                for view, shift, buffer in zip(views, shifts, buffers, strict=True)
            ]
            for rows, mask in zip(shifted, masks, strict=True):
                if mask is not None:
                    rows[~mask[block]] = 0.0
            found = [None if mask is None else mask[block] for mask in masks]
            for (u, v), sums in moments.sums.items():
                sums.add(shifted[u], shifted[v], found[u], found[v])
        return moments

    @classmethod
    def nothing(cls, shifts: Sequence[Float[Tensor, " _"]]) -> Moments:
        """Of no rows: what sums begin with."""
        views = range(len(shifts))
        zeros = {
            (u, v): _Sums(
                0,
                torch.zeros_like(shifts[u]),
                torch.zeros_like(shifts[v]),
                shifts[u].new_zeros(len(shifts[u]), len(shifts[v])),
            )
            for u, v in [*((v, v) for v in views), *combinations(views, 2)]
        }
        return cls(tuple(shifts), zeros)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.shifts, {pair: sums + other.sums[pair] for pair, sums in self.sums.items()})

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.shifts, {pair: sums - other.sums[pair] for pair, sums in self.sums.items()})

    def scaled(self, origins: Sequence[Float[Tensor, " _"]], scales: Sequence[Float[Tensor, " _"] | None]) -> Moments:
        """Of (x − origin)∘scale instead of x; a view whose scale is ``None`` stays as it is."""
        kept = [torch.ones_like(shift) if s is None else s for shift, s in zip(self.shifts, scales, strict=True)]
        shifts = tuple(
            shift if scale is None else (shift - origin) * scale
            for shift, origin, scale in zip(self.shifts, origins, scales, strict=True)
        )
        sums = {
            (u, v): _Sums(
                s.count,
                s.x * kept[u],
                s.y * kept[v],
                kept[u][:, None] * s.products * kept[v],
                None if s.lone_x is None else kept[u][:, None] * s.lone_x * kept[u],
                None if s.lone_y is None else kept[v][:, None] * s.lone_y * kept[v],
            )
            for (u, v), s in self.sums.items()
        }
        return Moments(shifts, sums)

    def __len__(self) -> int:
        """How many views there are."""
        return len(self.shifts)

    def count(self, u: int, v: int) -> int:
        """Rows that have both views."""
        return self.sums[min(u, v), max(u, v)].count

    def mean(self, view: int) -> Float[Tensor, " d"]:
        """Of all rows that have the view."""
        sums = self.sums[view, view]
        return self.shifts[view] + sums.x / max(1, sums.count)

    def covariance(self, u: int, v: int) -> Float[Tensor, "du dv"]:
        """Σ (x − x̄)(y − ȳ)ᵀ / n over the rows that have both."""
        if u > v:
            return self.covariance(v, u).T
        found = self.sums[u, v].covariance()
        return found.triu() + found.triu(1).T if u == v else found

    def mean_beside(self, view: int, other: int) -> Float[Tensor, " d"]:
        """Of a view over the rows that have another one too."""
        sums = self.sums[min(view, other), max(view, other)]
        return self.shifts[view] + (sums.x if view <= other else sums.y) / max(1, sums.count)

    def covariance_beside(self, view: int, other: int) -> Float[Tensor, "d d"]:
        """Of a view with itself over the rows that have another one too."""
        sums, own = self.sums[min(view, other), max(view, other)], self.sums[view, view]
        lone = sums.lone_x if view <= other else sums.lone_y
        if lone is None:
            return self.covariance(view, view)
        total = sums.x if view <= other else sums.y
        found = _Sums(sums.count, total, total, own.products - lone).covariance()
        return found.triu() + found.triu(1).T

"""Folds and moments of views that come in batches and are never held at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hyperspectral_geo.fusion.choice import Candidate
from hyperspectral_geo.fusion.cross_fit import Fold
from hyperspectral_geo.fusion.lifting import LinearLift
from hyperspectral_geo.fusion.moments import Moments, mean_of_rows
from hyperspectral_geo.fusion.views import Views, as_views, require_pairs

__all__ = ["streamed_candidate"]


def streamed_candidate(
    batches: Iterable[Sequence[Any]], *, folds: int, most: int = 500
) -> tuple[Candidate, tuple[tuple[int, ...], ...]]:
    """Linear lifts, moments and folds from one pass; memory does not grow with the number of rows.

    Complete row i of the stream belongs to fold i mod K, so rows should come in no order that has to do with what they
    are; rows that lack a view are outside every fold.

    Args:
        batches: views as ``SubspaceFusion.fit`` takes them, each batch with the same features; one may lack a view
            throughout.
        folds: K; fewer of few pairs.
        most: rows of a fold that are kept for judging, the first ones.

    Returns:
        The candidate, and the widths of each view's blocks.

    Raises:
        ValueError: as ``as_views``; for no batch, one with other features, or fewer than four complete rows.
    """
    stream: _Stream | None = None
    for number, batch in enumerate(batches):
        try:
            views = as_views(batch, lacking=True)
        except ValueError as error:
            raise ValueError(f"batch {number}, {error}") from None
        if stream is None:
            stream = _Stream(views.blocks, folds, most)
        if views.blocks != stream.blocks:
            raise ValueError(f"batch {number}: expected features {stream.blocks} as in the first, got {views.blocks}")
        stream.add(views)
    if stream is None:
        raise ValueError("batches: expected at least one, got none")
    return stream.candidate(), stream.blocks


class _Stream:
    """What is kept of the rows that have gone by.

    Attributes:
        parts: moments by fold, and last of the rows that lack a view.
        judged: complete rows by fold and view, and ``kept``, how many by fold.
        pairs: complete rows so far.
    """

    def __init__(self, blocks: tuple[tuple[int, ...], ...], folds: int, most: int) -> None:
        self.blocks, self.folds, self.most, self.pairs = blocks, folds, most, 0
        nothing = Moments.nothing([torch.zeros(sum(widths), dtype=torch.float64) for widths in blocks])
        self.parts = [nothing] * (folds + 1)
        self.judged: list[list[list[Tensor]]] = [[[] for _ in blocks] for _ in range(folds)]
        self.kept = [0] * folds

    def add(self, views: Views) -> None:
        """Deal the rows of a batch to the folds."""
        self._shift(views)
        whole = views.complete
        dealt = torch.full(whole.shape, self.folds)
        dealt[whole] = (torch.arange(int(whole.sum())) + self.pairs) % self.folds
        self.pairs += int(whole.sum())
        for number, part in enumerate(self.parts):
            mine = dealt == number
            if not bool(mine.any()):
                continue
            rows = [x[mine] for x in views.rows]
            present = [None if mask is None else mask[mine] for mask in views.present]
            self.parts[number] = part + Moments.of(rows, present=present, shifts=part.shifts)
            if number < self.folds and self.kept[number] < self.most:
                few = self.most - self.kept[number]
                for kept, x in zip(self.judged[number], rows, strict=True):
                    kept.append(x[:few].clone())
                self.kept[number] += min(few, len(rows[0]))

    def candidate(self) -> Candidate:
        """Lifts that give blocks equal say, and the folds in what they make of the features."""
        require_pairs(self.pairs)
        count = max(2, min(self.folds, self.pairs // 2))
        raw = sum(self.parts[1:], self.parts[0])
        lifts = tuple(
            LinearLift(raw.mean(view), None if len(widths) == 1 else _equal_say(raw, view, widths))
            for view, widths in enumerate(self.blocks)
        )
        means, scales = [lift.mean for lift in lifts], [lift.scales for lift in lifts]
        total, *parts = (part.scaled(means, scales) for part in (raw, *self.parts[:-1]))
        found = []
        for fold in range(count):  # of few pairs, several of the folds of the stream are one
            inside = sum(parts[fold + count :: count], parts[fold])
            judged = [torch.cat([x for kept in self.judged[fold::count] for x in kept[v]]) for v in range(len(lifts))]
            found.append(Fold.of(total - inside, [lift(x) for lift, x in zip(lifts, judged, strict=True)]))
        return Candidate(None, True, lifts, total, found, count)

    def _shift(self, views: Views) -> None:
        """A view's shift is its mean in the first batch that has it, before which its sums are zeros."""
        shifts = list(self.parts[0].shifts)
        for view, (x, mask) in enumerate(zip(views.rows, views.present, strict=True)):
            if not any(part.count(view, view) for part in self.parts):
                shifts[view] = mean_of_rows(x if mask is None else x[mask])
        self.parts = [replace(part, shifts=tuple(shifts)) for part in self.parts]


def _equal_say(moments: Moments, view: int, widths: Sequence[int]) -> Float[Tensor, " d"]:
    """Scales that give each block a total variance of one, and 0 to a block that is constant but for rounding."""
    found = []
    variances, means = moments.covariance(view, view).diagonal().split(list(widths)), moments.mean(view)
    for variance, mean in zip(variances, means.split(list(widths)), strict=True):
        least = len(mean) * (torch.finfo(mean.dtype).eps * mean.abs().max()).square()
        scale = torch.where(variance.sum() > least, variance.sum().rsqrt(), 0.0)
        found.append(scale.expand(len(mean)))
    return torch.cat(found)
